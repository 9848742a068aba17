"""ResNet-20 and MobileNetV2 in PyTorch, for 32x32 images: float, with a hand-written LSQ, and with Brevitas' layers.

The quantizers stand where the LSQ paper puts them, as in the row `LSQ_paper` of the package's setups: the weights of
every layer, and the input of every layer but the first, at `bits`; the first layer's weights and all of the last layer
at 8."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EDGE_BITS = 8  # of the first and last layer


class Layers(NamedTuple):
    """Makes the layers of a network.

    `signed`: whether a layer's input has negative values; `first`: whether it is the image."""

    conv: Callable[..., nn.Module]  # (before, after, size, stride, groups, signed=, first=) -> layer without bias
    linear: Callable[[int, int], nn.Module]


def float_layers() -> Layers:
    """Plain layers."""

    def conv(before: int, after: int, size: int, stride: int, groups: int, **_: bool) -> nn.Module:
        return nn.Conv2d(before, after, size, stride, padding=size // 2, groups=groups, bias=False)

    return Layers(conv, nn.Linear)


class LSQ(nn.Module):
    """x rounded to a grid whose scale is learned; its first input sets the scale. Source: LSQ (Esser et al., 2020)."""

    def __init__(self, bits: int, signed: bool):
        super().__init__()
        self.low = -(2 ** (bits - 1)) if signed else 0
        self.high = self.low + 2**bits - 1
        self.scale = nn.Parameter(torch.ones(()))
        self.begun = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.begun:
            self.scale.data.copy_(2 * x.detach().abs().mean() / self.high**0.5)
            self.begun = True
        slowed = self.scale * (x.numel() * self.high) ** -0.5
        scale = slowed + (self.scale - slowed).detach()
        level = torch.clamp(x / scale, self.low, self.high)
        return ((level.round() - level).detach() + level) * scale


class LSQConv(nn.Conv2d):
    """A convolution whose weights and input are rounded."""

    def __init__(self, *shape: int, weight: LSQ, act: nn.Module, groups: int):
        super().__init__(*shape, padding=shape[2] // 2, groups=groups, bias=False)
        self.rounded, self.act = weight, act

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(self.act(x), self.rounded(self.weight), None)


class LSQLinear(nn.Linear):
    """A linear layer whose weights and input are rounded at 8 bits."""

    def __init__(self, before: int, after: int):
        super().__init__(before, after)
        self.rounded, self.act = LSQ(EDGE_BITS, True), LSQ(EDGE_BITS, False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.act(x), self.rounded(self.weight), self.bias)


def lsq_layers(bits: int) -> Layers:
    """Layers with a hand-written LSQ, in plain PyTorch operations."""

    def conv(
        before: int, after: int, size: int, stride: int, groups: int, signed: bool = False, first: bool = False
    ) -> nn.Module:
        weight = LSQ(EDGE_BITS if first else bits, True)
        act = nn.Identity() if first else LSQ(bits, signed)
        return LSQConv(before, after, size, stride, weight=weight, act=act, groups=groups)

    return Layers(conv, LSQLinear)


def brevitas_layers(bits: int) -> Layers:
    """Brevitas' layers, with learned scales of weights and activations."""
    import brevitas.nn as qnn
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat

    learned = {
        "weight_quant": Int8WeightPerTensorFloat,
        "weight_scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS,
    }

    def conv(
        before: int, after: int, size: int, stride: int, groups: int, signed: bool = False, first: bool = False
    ) -> nn.Module:
        act = {} if first else dict(input_quant=Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat)
        bit_width = {"weight_bit_width": EDGE_BITS if first else bits, **({} if first else {"input_bit_width": bits})}
        shape = dict(padding=size // 2, groups=groups, bias=False)
        return qnn.QuantConv2d(before, after, size, stride, **shape, **learned, **act, **bit_width)

    def linear(before: int, after: int) -> nn.Module:
        return qnn.QuantLinear(before, after, bias=True, **learned, input_quant=Uint8ActPerTensorFloat)

    return Layers(conv, linear)


class Sum(nn.Module):
    """The sum of a body and a shortcut, then a function."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, function: nn.Module):
        super().__init__()
        self.body, self.shortcut, self.function = body, shortcut, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.body(x) + self.shortcut(x))


def _unit(
    layers: Layers, before: int, after: int, size: int, stride: int = 1, groups: int = 1, **where: bool
) -> list[nn.Module]:
    return [layers.conv(before, after, size, stride, groups, **where), nn.BatchNorm2d(after)]


def resnet20(layers: Layers, num_classes: int = 10) -> nn.Module:
    """`resnet20` of the package: (B, 3, H, W) -> logits (B, num_classes)."""
    unit = partial(_unit, layers)

    def block(before: int, after: int) -> nn.Module:
        stride = 1 if before == after else 2
        body = nn.Sequential(*unit(before, after, 3, stride), nn.ReLU(), *unit(after, after, 3))
        shortcut = nn.Identity() if stride == 1 else nn.Sequential(*unit(before, after, 1, stride))
        return Sum(body, shortcut, nn.ReLU())

    features = [16, *[16] * 3, *[32] * 3, *[64] * 3]
    blocks = [block(before, after) for before, after in zip(features, features[1:], strict=False)]
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), layers.linear(64, num_classes)
    return nn.Sequential(*unit(3, 16, 3, first=True), nn.ReLU(), *blocks, *ends)


def mobilenet_v2_32(layers: Layers, num_classes: int = 10) -> nn.Module:
    """`mobilenet_v2_32` of the package: (B, 3, H, W) -> logits (B, num_classes)."""
    from lifeq_jax.models.mobilenet_v2 import LAST, SMALL_IMAGES, STEM

    unit = partial(_unit, layers)

    def block(before: int, after: int, expansion: int, stride: int, linear: bool) -> nn.Module:
        inner = expansion * before
        expand = [] if expansion == 1 else [*unit(before, inner, 1, signed=linear), nn.ReLU6()]
        depthwise = [*unit(inner, inner, 3, stride, inner), nn.ReLU6()]
        body = nn.Sequential(*expand, *depthwise, *unit(inner, after, 1))
        is_residual = stride == 1 and before == after
        return Sum(body, nn.Identity(), nn.Identity()) if is_residual else body

    blocks: list[nn.Module] = []
    width = STEM
    for expansion, features, count, stride in SMALL_IMAGES:
        for index in range(count):
            blocks.append(block(width, features, expansion, stride if index == 0 else 1, linear=bool(blocks)))
            width = features
    stem = *unit(3, STEM, 3, first=True), nn.ReLU6()
    last = *unit(width, LAST, 1, signed=True), nn.ReLU6()
    return nn.Sequential(*stem, *blocks, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), layers.linear(LAST, num_classes))


NETWORKS = {"resnet20": resnet20, "mobilenet_v2_32": mobilenet_v2_32}


def trainer(
    network: nn.Module, image: Any, label: Any, channels_last: bool, compiled: bool, autocast: bool
) -> Callable[[int], None]:
    """SGD with momentum and weight decay on one batch that stays on the device: image (B, H, W, C), label (B,).

    `autocast`: convolutions and products in bfloat16."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image = torch.tensor(image).permute(0, 3, 1, 2).to(device).contiguous(memory_format=layout)
    label = torch.tensor(label).long().to(device)
    network = network.to(device, memory_format=layout)
    network(image)  # what the first batch sets, before it is compiled
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    trained = torch.compile(network) if compiled else network

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                loss = functional.cross_entropy(trained(image), label)
            loss.backward()
            optimizer.step()
        loss.item()

    return run
