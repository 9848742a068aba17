"""Small networks as training leaves them: norms with statistics, quantizers with ranges found on images."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.export.check import Images, StageWeights
from lifeq_jax.export.graph import sub_tree
from lifeq_jax.export.image import InputSpec
from lifeq_jax.export.lower import Lowered, Pixels, lower
from lifeq_jax.export.manifest import About
from lifeq_jax.export.program import Program
from lifeq_jax.layers.quant import QuantAct, QuantConv, QuantDense
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.alexnet import alexnet_32
from lifeq_jax.models.inverted_residual import BlockShape, InvertedResidualNetwork
from lifeq_jax.models.loading import initialize
from lifeq_jax.models.mlp import mlp
from lifeq_jax.models.mobilenet_v2 import MobileNetV2, relu6
from lifeq_jax.models.mobilenet_v3 import hard_swish
from lifeq_jax.models.resnet import ResNet, Stem
from lifeq_jax.models.resnet_cifar import plain_norm
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.codes import LEARNED

CLASSES = 5
SHAPE = (6, 6, 1)  # 3x3 pixels after a stride of 2: no average of them is half way between two codes
SHAPES = (BlockShape(3, 16, 8, 1, hard_swish, 8), BlockShape(5, 16, 8, 2, nn.relu), BlockShape(3, 8, 8, 1, relu6))
STAGES = ((1, 8, 1, 1), (2, 8, 2, 2))  # of MobileNetV2: expansion, features, blocks, stride

Maker = Callable[..., nn.Module]
NETWORKS: dict[str, Maker] = {
    "alexnet": lambda classes, chosen: alexnet_32(classes, chosen, mul=1 / 16, hidden=8),
    "inverted residual": lambda classes, chosen: InvertedResidualNetwork(
        classes, chosen, 8, 1, SHAPES, 16, hard_swish, hidden=8
    ),
    "mlp": lambda classes, chosen: mlp(classes, chosen, hidden=8, layers=3),
    "mobilenet_v2": lambda classes, chosen: MobileNetV2(classes, chosen, STAGES, 8, 16, 1, "identity", relu6),
    "mobilenet_v2, convolution shortcut": lambda classes, chosen: MobileNetV2(
        classes, chosen, STAGES, 8, 16, 1, "conv", nn.relu
    ),
    "resnet": lambda classes, chosen: ResNet(classes, chosen, (1, 1), 8),
    "small": lambda classes, chosen: ResNet(classes, chosen, (1,), 4),
    "resnet, bottleneck and window": lambda classes, chosen: ResNet(
        classes, chosen, (1,), 2, True, Stem(3, 1, pools=True), make_norm=plain_norm, window=1
    ),
}
SMALL = NETWORKS["small"]
LARGE = {"alexnet": (19, 19, 1)}  # the smallest that it takes
POSITIONS = {"convolutions": "norm", "LSQ_paper": "input", "LSQ": "output"}
LSQ = ("lsq", {"ranges": "minmax"})


def of_setup(setup: str) -> dict[str, tuple]:
    """LifeQuant's quantizers for its setup, learned ones for the others."""
    return {} if setup == "convolutions" else {"weight": LSQ, "act": LSQ}


def spec_of(shape: tuple[int, int, int]) -> InputSpec:
    """Images of one size, as they are."""
    height, width, channels = shape
    return InputSpec(shape, 0, (height, width), (0.4, 0.45, 0.5)[:channels], (0.25, 0.2, 0.3)[:channels])


def about(shape: tuple[int, int, int], classes: int = CLASSES) -> About:
    """Of a network whose tasks share all outputs."""
    return About(spec_of(shape), tuple(f"class {i}" for i in range(classes)), None, {"name": "small", "stage": "w4a4"})


def pixels(number: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Images with large bright and dark parts."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (number, 2, 2, shape[2]))
    fine = np.kron(coarse, np.ones((1, -(-shape[0] // 2), -(-shape[1] // 2), 1)))[:, : shape[0], : shape[1]]
    return np.clip(fine + random.normal(0, 30, (number, *shape)), 0, 255).astype(np.uint8)


def images(number: int, shape: tuple[int, int, int], classes: int = CLASSES) -> Images:
    """Without labels."""
    return Images(pixels(number, shape), None, 0, np.arange(classes))


def made(
    make: Maker,
    setup: str = "convolutions",
    weight: tuple = ("proxq", {}),
    act: tuple = ("activation", {}),
    bits: int | tuple[int, int] = 4,
    shape: tuple[int, int, int] = SHAPE,
) -> StageWeights:
    """The network of a maker, its norms and ranges as after training; made once, so not to be changed."""
    key = repr((make, setup, weight, act, bits, shape))
    if key not in MADE:
        MADE[key] = _made(make, setup, weight, act, bits, shape)
    return MADE[key]


MADE: dict[str, StageWeights] = {}
LOWERED: dict[int, Lowered] = {}


def lowered_of(network: StageWeights, shape: tuple[int, int, int] = SHAPE) -> Lowered:
    """Its program; made once, so not to be changed."""
    if id(network) not in LOWERED:
        LOWERED[id(network)] = lower(*network, Pixels(shape, spec_of(shape).numbers()))
        KEPT.append(network)
    return LOWERED[id(network)]


KEPT: list[StageWeights] = []  # so that no two have one id


def program_of(name: str = "small", shape: tuple[int, int, int] = SHAPE, **how) -> Program:
    """Of one of NETWORKS."""
    return lowered_of(made(NETWORKS[name], shape=shape, **how), shape).program


def _made(
    make: Maker, setup: str, weight: tuple, act: tuple, bits: int | tuple[int, int], shape: tuple
) -> StageWeights:
    weight_bits, act_bits = bits if isinstance(bits, tuple) else (bits, bits)
    chosen = quantizers(
        setup,
        lambda bits: QUANTIZERS[weight[0]](bits, **weight[1]),
        lambda bits: QUANTIZERS[act[0]](bits, **act[1]),
        weight_bits,
        act_bits,
    )
    return trained(make(CLASSES, chosen), shape)


def trained(model: nn.Module, shape: tuple[int, int, int]) -> StageWeights:
    """`model` with norms and ranges as after training; every fourth channel of a norm has a negative scale."""
    variables = initialize(model, 0, shape)
    random = np.random.default_rng(1)

    def changed(name: str, leaf):
        if name.endswith("/bias"):
            return jnp.asarray(random.normal(0, 0.2, leaf.shape), jnp.float32)
        if not name.endswith("/scale") or LEARNED in name:
            return leaf
        signs = np.where(np.arange(leaf.size) % 4 == 3, -1, 1)
        return jnp.asarray(signs * random.uniform(0.5, 1.5, leaf.shape), jnp.float32)

    params = map_named(changed, variables["params"])
    found: dict[str, jnp.ndarray] = {}
    statistics: dict[str, jnp.ndarray] = {}

    def calibrate(next_method, args, kwargs, context):
        module, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__":
            return next_method(*args, **kwargs)
        if isinstance(module, QuantAct) and module.quantizer.ranges is not None:
            learned = found.setdefault(path, module.quantizer.init(args[0]))
            return module.quantizer.apply(learned, args[0])
        if isinstance(module, QuantConv | QuantDense) and module.weight.ranges is not None:
            found[path] = module.weight.init(sub_tree(params, path)["kernel"])
            sub_tree(params, path)[LEARNED] = found[path]
        if hasattr(module, "epsilon") and "batch_stats" in variables:
            x = np.asarray(args[0])
            axes = tuple(range(x.ndim - 1))
            mean, var = x.mean(axis=axes), x.var(axis=axes) + 1e-3
            statistics[path] = {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}
            own = sub_tree(params, path)
            y = (x - mean) / np.sqrt(var + module.epsilon)
            return jnp.asarray(y * np.asarray(own["scale"]) + np.asarray(own["bias"]) if own else y)
        return next_method(*args, **kwargs)

    numbers = spec_of(shape).numbers()[0]
    seen = pixels(4, shape, seed=7)
    image = np.stack([row[seen[..., channel]] for channel, row in enumerate(numbers)], axis=-1)
    with nn.intercept_methods(calibrate):
        model.apply({"params": params, "batch_stats": variables["batch_stats"]}, jnp.asarray(image), train=False)
    leaves = {f"{path}/{LEARNED}/{key}": leaf for path, own in found.items() for key, leaf in own.items()}
    params = map_named(lambda name, leaf: leaves.get(name, leaf), params)
    flat = {f"{path}/{key}": leaf for path, own in statistics.items() for key, leaf in own.items()}
    assert flat.keys() == named_leaves(variables["batch_stats"]).keys()
    return StageWeights(model, params, map_named(lambda name, leaf: flat[name], variables["batch_stats"]))
