"""Our training steps beside those of other trainers for low-bit networks, in one process on one device."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np

from benchmarks.steps import lsq, systems
from benchmarks.timing import AGAIN, BenchmarkResult, Run, alternate, load, medians, medians_of_ratios, surroundings
from benchmarks.work import bench_recipe, random_batch, step_work
from lifeq_jax.core.config import Data
from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.build import complete

MODELS = ("resnet20", "mobilenet_v2_32")
LIBRARIES = ("torch", "brevitas", "qwix")
LAYOUTS = {  # of PyTorch, beside eager execution in its own layout
    "": {"channels_last": False, "compiled": False},
    ", channels last": {"channels_last": True, "compiled": False},
    ", compiled, channels last": {"channels_last": True, "compiled": True},
}


def bench_peers(model: str, batch_size: int, bits: int, precision: str, repeats: int, steps: int) -> BenchmarkResult:
    """The training step of a network for 32x32 images: our systems, and those peers that are installed.

    PyTorch in float, eager, channels last and compiled; a hand-written LSQ in the same three ways; Brevitas with
    learned scales of weights and activations; qwix's fake-quantizing provider. Every one has its batch on the device,
    and SGD with momentum and weight decay in float32. In bfloat16 PyTorch's and Brevitas' networks run under autocast;
    qwix is left out. What does not run is named with its reason. For one thread, bind the process to one core.

    Raises:
        Refusal: another model, no peer is installed, or a torch without GPU where JAX has one."""
    lookup(dict.fromkeys(MODELS), model, "model")
    found = {name: _version(name) for name in LIBRARIES}
    if not any(found.values()):
        raise Refusal(f"none of {', '.join(LIBRARIES)} is installed; this benchmark compares with them")
    ours = systems(model, batch_size, bits, precision)
    floating = ours.pop("float" + AGAIN)
    alone = lsq(model, batch_size, bits, precision=precision)
    ours |= {f"LSQ {bits}-bit": alone, "float" + AGAIN: floating}
    runs: dict[str, Run] = {f"ours, {name}": step_work(complete(recipe)).run for name, recipe in ours.items()}
    facts: dict[str, float | str] = {name: number or "not installed" for name, number in found.items()}
    data = bench_recipe(model, batch_size, bits).data
    for name, make in _peers(model, bits, data, precision == "bfloat16", found).items():
        try:
            runs[name] = make()
            runs[name](1)
        except Exception as error:  # of any kind: another library's
            runs.pop(name, None)
            facts[name] = f"does not run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    before = load()
    times, processor = alternate(runs, repeats, steps)
    return BenchmarkResult(
        f"training step beside other trainers, {model}, 32x32, {precision}",
        {"batch_size": batch_size, "alternating_repeats": repeats, "steps_of_each": steps},
        {
            "images_per_second": {name: batch_size / seconds for name, seconds in medians(times).items()},
            "time_ratio_to_float": medians_of_ratios(times, "ours, float"),
            "processor_ratio_to_float": medians_of_ratios(processor, "ours, float"),
            "processor_seconds_per_step": medians(processor),
        },
        {"cores": str(len(os.sched_getaffinity(0))), **facts},
        surroundings(before),
    )


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _peers(model: str, bits: int, data: Data, autocast: bool, found: dict[str, str]) -> dict[str, Callable[[], Run]]:
    """Name -> makes its run; `autocast`: in bfloat16."""
    batch = random_batch(data)
    made: dict[str, Callable[[], Run]] = {}
    if found["torch"]:
        import torch

        from benchmarks import peers_torch

        if jax.default_backend() != "cpu" and not torch.cuda.is_available():
            raise Refusal("JAX computes on a GPU, and this torch does not see one; install a torch with CUDA")
        kinds: dict[str, tuple[Callable[[], Any], Sequence[str]]] = {
            "PyTorch float": (peers_torch.float_layers, tuple(LAYOUTS)),
            f"PyTorch, hand-written LSQ {bits}-bit": (partial(peers_torch.lsq_layers, bits), tuple(LAYOUTS)),
        }
        if found["brevitas"]:  # torch.compile fails on its layers
            kinds[f"Brevitas {bits}-bit"] = (partial(peers_torch.brevitas_layers, bits), tuple(LAYOUTS)[:2])
        image, label = np.asarray(batch.image), np.asarray(batch.label)
        for kind, (layers, layouts) in kinds.items():
            for layout in layouts:
                how = {**LAYOUTS[layout], "autocast": autocast}
                made[kind + layout] = partial(_torch, model, layers, image, label, how)
    # a step of MobileNetV2 takes minutes: XLA's gradient of grouped kernels
    if found["qwix"] and model == "resnet20" and not autocast:
        from benchmarks import peers_qwix

        made[f"qwix {bits}-bit, fake quantization"] = partial(peers_qwix.trainer, bits, batch.image, batch.label)
    return made


def _torch(model: str, layers: Callable[[], Any], image: np.ndarray, label: np.ndarray, how: dict[str, bool]) -> Run:
    from benchmarks import peers_torch

    return peers_torch.trainer(peers_torch.NETWORKS[model](layers()), image, label, **how)
