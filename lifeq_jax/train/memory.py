"""The memory of a training step, looked at before the first one: a system short of memory ends a process unasked."""

from collections.abc import Callable
from typing import Any

import jax

from lifeq_jax.core.memory import host_bytes
from lifeq_jax.core.refusal import Refusal


def fitting(step: Any, batch_size: int) -> Callable:
    """`step`, a jitted function of a batch on one device. Its first call raises Refusal where its intermediate values
    need more memory than the machine has, and names a power of two of images that fits.

    On CPU alone: elsewhere the device's allocator says so. What other processes hold is not counted."""
    if jax.default_backend() != "cpu":
        return step
    is_known = False

    def checked(*args: Any) -> Any:
        nonlocal is_known
        if not is_known:
            # the call below takes this program from JAX's cache
            needed, there = step.lower(*args).compile().memory_analysis().temp_size_in_bytes, host_bytes()
            if needed > there:
                raise Refusal(
                    f"a step of data.batch_size={batch_size} needs {needed / 1e9:.1f} GB for its intermediate values, "
                    f"and this machine has {there / 1e9:.1f} GB; {_advice(batch_size * there // needed)}"
                )
            is_known = True
        return step(*args)

    return checked


def _advice(images: int) -> str:
    return f"--data.batch-size {1 << images.bit_length() - 1} fits" if images else "not one image fits"
