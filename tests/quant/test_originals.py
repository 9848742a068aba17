"""Quantizers and rounding functions without a state, against LifeQuant, ClimbQ and Overcoming Oscillations."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.cdf import centered_cdf, sample_normalized
from lifeq_jax.quant.estimators import round_with, rounding, scale_gradient
from lifeq_jax.quant.proxq import standardize
from lifeq_jax.quant.uniform import NORMALIZED_RANGE
from tests import vectors
from tests.quant.pullback import vjp_of

# Of each file: what a value may be off by (relative, as a share of the largest), and a gradient, as a share.
FILES = {
    "lq_uniform_quantize": (3e-7, 0.0, None),
    "lq_activation_quantize": (1e-5, 1e-6, 3e-7),
    "lq_weight_quantize": (1e-5, 5e-8, 1e-5),
    "cq_weight_quantize": (1e-5, 1e-6, 1e-6),
    "cq_activation_quantize": (1e-5, 1e-6, 1e-6),
}
CASES = [
    (file, case or "", bits, suffix or "")
    for file in FILES
    for case, bits, suffix in vectors.keys(file, r"(?:(.+)/)?k(\d+)/y(_edge|_special)?")
    if case not in ("train/align", "eval/align")
]


def inputs(file, case, bits, suffix):
    """(x, cotangent) of a recorded case: those of its bits, its tensor, or its file."""
    arrays = vectors.arrays(file)
    for prefix in (f"{case}/k{bits}/", f"k{bits}/", f"{case}/", ""):
        if f"{prefix}x{suffix}" in arrays:
            count = 1 if case.startswith("single/") else None
            return arrays[f"{prefix}x{suffix}"][:count], arrays[f"{prefix}ct{suffix}"][:count]
    raise KeyError(f"{file}: {case} has no inputs")


def quantizers(file, case, bits, batch):
    """Our quantizers of a recorded case; for weights of 2 bits up in ClimbQ both kinds of levels."""
    if file == "lq_uniform_quantize":
        return [QUANTIZERS["dorefa"](bits)]
    if file == "lq_activation_quantize":
        return [QUANTIZERS["activation"](bits, normalize=case == "mobilenet")]
    if file == "lq_weight_quantize":
        range_ = vectors.scalars(file)[f"{case.partition('/')[0]}/range_"]
        return [QUANTIZERS["proxq"](bits, range_=float(range_), levels="open")]
    if file == "cq_weight_quantize":
        return [QUANTIZERS["cdf"](bits, levels=levels) for levels in (("open",) if bits == 1 else ("exact", "open"))]
    mode, reach = case.split("/ar")
    quantizer = QUANTIZERS["cdf_activation"](
        bits,
        ratio="sample_normalized",
        act_range=float(reach),
        eval_ratio=float(mode == "eval_imgnet"),
        levels="open",
    )
    if mode.startswith("eval") or bits == 32:
        return [quantizer]
    return [quantizer.of_batch(jnp.asarray(vectors.arrays(file)["p_train"].ravel()[:batch]))]


@cache
def values_and_gradients(file, case):
    """{(bits, suffix): [(value, gradient) of each quantizer]} of a recorded case, by one program."""

    def found(bits, x, cotangent):
        for quantizer in quantizers(file, case, bits, len(x)):
            y, pullback = jax.vjp(lambda a, apply=quantizer.apply: apply({}, a), x)
            yield y, pullback(cotangent)[0]

    given = {row[2:]: inputs(*row) for row in CASES if row[:2] == (file, case)}
    return jax.jit(lambda given: {key: list(found(key[0], *arrays)) for key, arrays in given.items()})(given)


@pytest.mark.parametrize(("file", "case", "bits", "suffix"), CASES)
def test_values_and_gradients(file, case, bits, suffix):
    arrays, key = vectors.arrays(file), f"{case}/k{bits}/".removeprefix("/")
    rtol, share, of_gradient = FILES[file]
    for y, gx in values_and_gradients(file, case)[bits, suffix]:
        vectors.close(y, arrays[f"{key}y{suffix}"], rtol, share)
        if suffix or of_gradient is None:
            np.testing.assert_array_equal(gx, arrays[f"{key}gx{suffix}"])
        else:
            vectors.close(gx, arrays[f"{key}gx"], share=of_gradient)


compiled_standardize = jax.jit(standardize)


@pytest.mark.parametrize("case", [case for (case,) in vectors.keys("lq_weight_quantize", "(.+)/xn")])
def test_standardized_weights(case):
    file = "lq_weight_quantize"
    array = {name: vectors.arrays(file)[f"{case}/{name}"] for name in ("x", "xn", "mean", "std")}
    range_ = vectors.scalars(file)[f"{case.partition('/')[0]}/range_"]
    found = np.asarray(compiled_standardize(array["x"], range_))
    np.testing.assert_allclose(found, array["xn"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found / (range_ / 4) * array["std"] + array["mean"], array["x"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [case for (case,) in vectors.keys("lq_activation_quantize", "(.+)/xn")])
def test_standardized_activations(case):
    arrays = vectors.arrays("lq_activation_quantize")
    found = compiled_standardize(arrays[f"{case}/x"], NORMALIZED_RANGE)
    vectors.close(found, arrays[f"{case}/xn"], share=1e-6)


@pytest.mark.parametrize("tensor", [tensor for (tensor,) in vectors.keys("cq_weight_quantize", "(.+)/cdf")])
def test_distribution_and_density_of_weights(tensor):
    array = {name: vectors.arrays("cq_weight_quantize")[f"{tensor}/{name}"] for name in ("x", "cdf", "pdf2")}
    x = array["x"]
    found, gx = vjp_of(lambda a: centered_cdf((a - np.mean(x)) / np.std(x, ddof=1)), x, np.ones_like(x))
    vectors.close((found + 1) / 2, array["cdf"], share=1e-6)
    vectors.close(gx, array["pdf2"], share=1e-6)


@pytest.mark.parametrize("mode", [mode for (mode,) in vectors.keys("cq_activation_quantize", "(.+)/align/k32/y")])
def test_aligned_activations_are_the_distribution(mode):
    g = vectors.arrays("cq_activation_quantize")
    ratio = sample_normalized if mode == "train" else jnp.zeros_like
    y, gx = vjp_of(lambda x: (1 + centered_cdf(x / (2 - ratio(jnp.asarray(g["p_train"]))))) / 2, g["x"], g["ct"])
    vectors.close(y, g[f"{mode}/align/k32/y"], share=1e-6)
    vectors.close(gx, g[f"{mode}/align/k32/gx"], share=1e-6)


def test_class_ratios():
    g = vectors.arrays("cq_activation_quantize")
    _, place, images = np.unique(g["labels"], return_inverse=True, return_counts=True)
    share = g["p_train"].ravel()
    np.testing.assert_allclose(images[place] / len(place), share, rtol=1e-6)
    vectors.close(sample_normalized(jnp.asarray(share)), g["p_hat"].ravel(), share=1e-6)


ESTIMATORS = {"ste": "ste", "ewgs": "ewgs", "ssig": "stacked_sigmoid"}


@pytest.mark.parametrize("case", [case for (case,) in vectors.keys("osc_rounding_functions", "(.+)_y")])
def test_rounding_functions(case):
    g, (name, _, arg) = vectors.arrays("osc_rounding_functions"), case.partition("_")
    if name == "stoch":
        function = lambda x: round_with(x, jnp.asarray(g["noise"]))  # noqa: E731
    elif name == "scalegrad":
        function = lambda x: scale_gradient(x, jnp.float32(arg))  # noqa: E731
    else:
        function = lambda x: rounding(ESTIMATORS[name], float(arg or 0))(x, None)  # noqa: E731
    y, gx = vjp_of(function, g["x"], g["g"])
    np.testing.assert_array_equal(y, g[f"{case}_y"])
    np.testing.assert_allclose(gx, g[f"{case}_gx"], rtol=1e-5, atol=1e-6)
