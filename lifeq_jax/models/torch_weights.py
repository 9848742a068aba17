"""Pretrained float weights: state dicts of torchvision and timm, converted to the names and layouts of `MODELS`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.models.efficientnet_lite import LITE0
from lifeq_jax.models.loading import SHOWN
from lifeq_jax.models.mobilenet_v2 import IMAGENET
from lifeq_jax.models.mobilenet_v3 import SMALL
from lifeq_jax.quant.codes import is_learned

# Pairs (path of a layer here, name of torch's module); may include layers that the network lacks.
Names = Iterator[tuple[str, str]]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _unit(path: str, conv: str, norm: str) -> Names:
    yield f"{path}/conv", conv
    yield f"{path}/norm", norm


def _torchvision_mobilenet_v2() -> Names:
    yield from _unit("stem", "features.0.0", "features.0.1")
    for index in range(sum(stage[2] for stage in IMAGENET)):
        block, base = f"blocks_{index}", f"features.{index + 1}.conv"
        inner = ("depthwise",) if index == 0 else ("expand", "depthwise")
        for place, part in enumerate(inner):
            yield from _unit(f"{block}/{part}", f"{base}.{place}.0", f"{base}.{place}.1")
        yield from _unit(f"{block}/project", f"{base}.{len(inner)}", f"{base}.{len(inner) + 1}")
    yield from _unit("last", "features.18.0", "features.18.1")
    yield "classifier/dense", "classifier.1"


def _torchvision_mobilenet_v3() -> Names:
    yield from _unit("stem", "features.0.0", "features.0.1")
    for index, (*_, squeeze, _swish) in enumerate(SMALL):
        block, base = f"blocks_{index}", f"features.{index + 1}.block"
        parts = ["expand"] * (index > 0) + ["depthwise"] + ["excite"] * squeeze + ["project"]
        for place, part in enumerate(parts):
            if part == "excite":
                yield f"{block}/squeeze/conv", f"{base}.{place}.fc1"
                yield f"{block}/excite/conv", f"{base}.{place}.fc2"
            else:
                yield from _unit(f"{block}/{part}", f"{base}.{place}.0", f"{base}.{place}.1")
    yield from _unit("last", "features.12.0", "features.12.1")
    yield "hidden_layer/conv", "classifier.0"
    yield "classifier/dense", "classifier.3"


def _timm(counts: tuple[int, ...]) -> Names:
    yield from _unit("stem", "conv_stem", "bn1")
    for index, base in enumerate(_places(counts, "blocks.{}.{}", 0)):
        inverted = (("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl"))
        parts = inverted if index > 0 else (("depthwise", "conv_dw"), ("project", "conv_pw"))
        for place, (part, conv) in enumerate(parts, 1):
            yield from _unit(f"blocks_{index}/{part}", f"{base}.{conv}", f"{base}.bn{place}")
    yield from _unit("last", "conv_head", "bn2")
    yield "classifier/dense", "classifier"


def _resnet(counts: tuple[int, ...]) -> Names:
    yield from _unit("stem", "conv1", "bn1")
    for index, base in enumerate(_places(counts, "layer{}.{}", 1)):
        for place in range(3):
            yield from _unit(f"blocks_{index}/units_{place}", f"{base}.conv{place + 1}", f"{base}.bn{place + 1}")
        yield from _unit(f"blocks_{index}/shortcut", f"{base}.downsample.0", f"{base}.downsample.1")
    yield "classifier/dense", "fc"


def _places(counts: tuple[int, ...], template: str, first: int) -> list[str]:
    return [template.format(first + stage, index) for stage, count in enumerate(counts) for index in range(count)]


# For each model, {name of a tensor that only this naming scheme has: scheme}. timm's mobilenetv3_small_100 is left out:
# its norms have another epsilon, so its weights belong to another network.
SCHEMES: dict[str, dict[str, Callable[[], Names]]] = {
    "efficientnet_lite0": {"conv_stem.weight": lambda: _timm(tuple(stage[0] for stage in LITE0))},
    "mobilenet_v2": {
        "features.0.0.weight": _torchvision_mobilenet_v2,
        "conv_stem.weight": lambda: _timm(tuple(stage[2] for stage in IMAGENET)),
    },
    "mobilenet_v3_small": {"features.0.0.weight": _torchvision_mobilenet_v3},
    "resnet18": {"conv1.weight": lambda: _resnet((2, 2, 2, 2))},
    "resnet50": {"conv1.weight": lambda: _resnet((3, 4, 6, 3))},
}


def load_torch(model_name: str, path: str | Path, shapes: PyTree) -> PyTree:
    """{"params", "batch_stats"} of the float weights in a state dict, in the structure of `shapes`, float32.

    `model_name` is a row of SCHEMES, `path` a .safetensors file, or a .pth or .pt file where torch is installed;
    `shapes` are the model's collections, arrays or shapes. Learned state of quantizers is not in the file and is taken
    from `shapes`. Refuses another kind of file, and tensors that are missing, left over or of another shape, naming the
    first three and their number."""
    schemes = lookup(SCHEMES, model_name, "model of pretrained weights")
    state = read_state(Path(path))
    scheme = next((names for name, names in schemes.items() if name in state), next(iter(schemes.values())))
    modules = dict(scheme())
    wanted = {
        name: _torch_name(modules, name) for name in named_leaves(shapes) if not is_learned(name)
    }  # leaf name, with its collection -> name of the tensor
    found = {name: state[tensor] for name, tensor in wanted.items() if tensor in state}
    _check_fit(path, state, wanted, named_leaves(shapes))

    def loaded(name: str, leaf: Any) -> Any:
        return jnp.asarray(_to_ours(found[name], len(leaf.shape))) if name in found else leaf

    return map_named(loaded, shapes)


def _torch_name(modules: Mapping[str, str], name: str) -> str:
    layer, _, last = name.partition("/")[2].rpartition("/")
    return f"{modules.get(layer, layer)}.{LEAVES[last]}"


def _to_ours(value: np.ndarray, rank: int) -> np.ndarray:
    if rank == 4:  # torch may have a linear layer in place of a 1x1 convolution
        return value.reshape(*value.shape, *[1] * (4 - value.ndim)).transpose(2, 3, 1, 0)
    return value.T


def _check_fit(
    path: str | Path, state: Mapping[str, np.ndarray], wanted: Mapping[str, str], shapes: Mapping[str, Any]
) -> None:
    misfits = [f"{tensor} is missing" for tensor in wanted.values() if tensor not in state]
    misfits += [f"{tensor} is left over" for tensor in state if tensor not in set(wanted.values())]
    for name, tensor in wanted.items():
        shape = shapes[name].shape
        if tensor in state and not _fits(state[tensor].shape, shape):
            given = "x".join(map(str, state[tensor].shape))
            misfits.append(f"{tensor} is {given}, wanted {'x'.join(map(str, _torch_shape(shape)))}")
    if misfits:
        more = f"; and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise Refusal(f"{path} does not fit the model, {len(misfits)} in all: {'; '.join(misfits[:SHOWN])}{more}")


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _fits(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    wanted = _torch_shape(shape)
    return given == wanted or (len(given) == 2 and (*given, 1, 1) == wanted)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by torch's names, float32; without num_batches_tracked and the prefix "module.".

    Refuses files that are missing, damaged or of another kind."""
    readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch}
    reader = lookup(readers, path.suffix, f"{path}: file ending")
    if not path.is_file():
        raise Refusal(f"{path} does not exist")
    state = reader(path)
    return {
        name.removeprefix("module."): value for name, value in state.items() if not name.endswith("num_batches_tracked")
    }


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: value.astype(np.float32) for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise Refusal(f"{path} is not a safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise Refusal(f"{path}: reading {path.suffix} needs torch; save the weights as .safetensors instead") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, its own and others
        reason = str(error).partition("\n")[0]
        raise Refusal(f"{path} is not read by torch.load with weights_only=True: {reason}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Refusal(f"{path} holds no state dict: a dict of tensors, or one under the key 'state_dict'")
    return {name: value.detach().float().numpy() for name, value in state.items()}
