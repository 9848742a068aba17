"""Our training step compared with the same network in plain PyTorch, in one process on one device."""

import importlib.util
from typing import Any

import jax
import numpy as np

from benchmarks.timing import AGAIN, BenchmarkResult, Run, alternate, load, medians, medians_of_ratios, surroundings
from benchmarks.work import bench_recipe, lifequant, random_batch, step_work
from lifeq_jax.core.config import Data
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.build import complete

MODEL = "resnet20"
TORCH = {  # options that differ from eager execution in torch's own layout
    "torch": {"channels_last": False, "compiled": False},
    "torch, channels last": {"channels_last": True, "compiled": False},
    "torch.compile, channels last": {"channels_last": True, "compiled": True},
}


def bench_torch(batch_size: int, bits: int, repeats: int, steps: int) -> BenchmarkResult:
    """The training step of ResNet-20 on 32x32 images: float here, in torch, here again as a control, and LifeQuant.

    Every variant has its batch on the device; SGD with momentum and weight decay; float32, with each library's default
    precision of products on a GPU. Refuses a missing torch, and a torch without GPU if JAX has one."""
    if importlib.util.find_spec("torch") is None:
        raise Refusal("this benchmark needs torch, which is not installed; see pytorch.org")
    ours = complete(bench_recipe(MODEL, batch_size, 32))
    runs: dict[str, Run] = {
        "float": step_work(ours).run,
        f"LifeQuant {bits}-bit": step_work(complete(lifequant(MODEL, batch_size, bits))).run,
        **_torch_runs(ours.data),
    }
    runs["float" + AGAIN] = runs["float"]
    before = load()
    times, _ = alternate(runs, repeats, steps)
    import torch

    return BenchmarkResult(
        f"training step beside torch, {MODEL}, 32x32",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_each": steps},
        {
            "images_per_second": {name: batch_size / seconds for name, seconds in medians(times).items()},
            "time_ratio_to_float": medians_of_ratios(times, "float"),
        },
        {"torch": torch.__version__},
        surroundings(before),
    )


def _torch_runs(data: Data) -> dict[str, Run]:
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise Refusal("JAX computes on a GPU, and this torch does not see one; install a torch with CUDA")
    batch = random_batch(data)
    image = torch.tensor(np.asarray(batch.image)).permute(0, 3, 1, 2).contiguous().to(device)
    label = torch.tensor(np.asarray(batch.label)).long().to(device)
    return {name: _trainer(image, label, **how) for name, how in TORCH.items()}


def _trainer(image: Any, label: Any, channels_last: bool, compiled: bool) -> Run:
    """SGD with momentum and weight decay on one batch that stays on the device."""
    import torch
    from torch.nn import functional

    layout = torch.channels_last if channels_last else torch.contiguous_format
    image, network = image.to(memory_format=layout), torch_resnet20(10).to(image.device, memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    network = torch.compile(network) if compiled else network

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(image), label)
            loss.backward()
            optimizer.step()
        loss.item()

    return run


def torch_resnet20(num_classes: int) -> Any:
    """`resnet20` in plain PyTorch: (B, 3, H, W) -> logits (B, num_classes)."""
    from torch import Tensor, nn
    from torch.nn import functional

    def unit(before: int, after: int, size: int, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after))

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int):
            super().__init__()
            self.first, self.second = unit(before, after, 3, stride), unit(after, after, 3)
            self.shortcut = nn.Identity() if stride == 1 else unit(before, after, 1, stride)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))

    features = [16, *[16] * 3, *[32] * 3, *[64] * 3]
    places = zip(features, features[1:], strict=False)
    blocks = [Block(before, after, 1 if before == after else 2) for before, after in places]
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)
    return nn.Sequential(unit(3, 16, 3), nn.ReLU(), *blocks, *ends)
