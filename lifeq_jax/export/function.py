"""Elementwise functions of a model: ReLU, hard-swish, and any other JAX primitive of one variable."""

from typing import Any, NamedTuple, Union

import jax.numpy as jnp
import numpy as np

NAMES = frozenset(
    {
        *("abs", "add", "atan2", "ceil", "clamp", "convert_element_type", "copy", "cos", "cosh", "div", "eq", "erf"),
        *("exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "le", "log", "log1p", "logistic", "lt", "max"),
        *("min", "mul", "ne", "neg", "pow", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt"),
        *("square", "sub", "tan", "tanh"),
    }
)


class Function(NamedTuple):
    """A primitive of JAX applied to functions of x and to constants; None stands for x itself."""

    name: str
    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Union["Function", None, np.ndarray], ...]


Of = Function | None


def evaluate(function: Of, x: np.ndarray) -> np.ndarray:
    """float32 function(x), any shape, operation by operation as the model computes it without jit."""
    if function is None:
        return x
    inputs = [item if isinstance(item, np.ndarray) else evaluate(item, x) for item in function.inputs]
    # some primitives, as select_n, take arrays of one shape only
    return np.asarray(function.primitive.bind(*map(jnp.asarray, np.broadcast_arrays(*inputs)), **function.params))


class Limited(NamedTuple):
    """factor * x limited to low .. high, factor > 0."""

    low: float
    high: float
    factor: float


def limited(function: Of) -> Limited | None:
    """`function` as a scaled x between limits, such as ReLU and relu6; None if it has another form."""
    if function is None:
        return Limited(-np.inf, np.inf, 1.0)
    values = [item for item in function.inputs if not isinstance(item, np.ndarray)]
    constants = [float(item) for item in function.inputs if isinstance(item, np.ndarray) and item.shape == ()]
    if len(values) != 1 or len(constants) != 1 or function.name not in ("max", "min", "mul", "div"):
        return None
    inner, constant = limited(values[0]), constants[0]
    if inner is None:
        return None
    low, high, factor = inner
    if function.name == "max":
        return Limited(max(low, constant), max(high, constant), factor)
    if function.name == "min":
        return Limited(min(low, constant), min(high, constant), factor)
    if constant <= 0 or (function.name == "div" and isinstance(function.inputs[0], np.ndarray)):
        return None
    scale = constant if function.name == "mul" else 1 / constant
    return Limited(low * scale, high * scale, factor * scale)
