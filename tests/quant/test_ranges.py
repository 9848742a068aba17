import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lifeq_jax.quant.lsq import lsq
from lifeq_jax.quant.ranges import RANGES, minimize
from tests import vectors
from tests.refusals import refused

CASES = vectors.cases("osc_range_estimators")
NAMES = {"current": "minmax", "running": "running_minmax"}
OPTIONS = {"num_candidates": "candidates", "percentile": "percentile", "momentum": "momentum"}
SEARCHED = [name for name, case in CASES.items() if case.get("opts", {}).get("opt_method") == "golden_section"]

GRIDS = [name for name, case in CASES.items() if case["est"] == "MSE" and name not in SEARCHED]
SHIFTED = [name for name in GRIDS if CASES[name]["method"] == "asym" and not CASES[name]["one_sided"]]


def quantizer_of(case):
    """Our quantizer for a golden case."""
    options = dict(case.get("opts", {}))
    name = NAMES.get(case["est"]) or {"golden_section": "golden_section"}.get(options.pop("opt_method", ""), "mse")
    ours = {OPTIONS[key]: value for key, value in options.items()}
    return lsq(case["bits"], symmetric=case["method"] == "sym", per_channel=case["pc"], ranges=name, **ours)


def channels_last(case, array):
    """The golden arrays have their channels first, ours last."""
    return np.moveaxis(array, 0, -1) if case["pc"] else array


def recorded(name):
    """(arrays, case, batches) of a golden case."""
    g, case = vectors.arrays("osc_range_estimators"), CASES[name]
    return g, case, np.stack([channels_last(case, x) for x in g[f"{name}_x"]])


@cache
def estimates(name):
    """[(estimate, learned state, quantized batch) after each of the batches], by one program."""
    _, case, batches = recorded(name)
    quantizer = quantizer_of(case)

    def step(estimate, x):
        estimate = quantizer.ranges.update(estimate, x)
        learned = quantizer.ranges.learned(estimate)
        return estimate, (estimate, learned, quantizer.apply(learned, x))

    found = jax.device_get(jax.jit(lambda x: jax.lax.scan(step, quantizer.ranges.start(x[0]), x)[1])(batches))
    return [jax.tree.map(lambda leaf, at=at: leaf[at], found) for at in range(len(batches))]


def squared_errors(case, states, batches):
    """Of each state and batch: per channel, or over all, the squared error of the batch, quantized with the state."""
    shape = (1,) * (batches[0].ndim - 1) + (-1,) if case["pc"] else ()
    shapes = {"scale": shape, "zero": shape, "low": ()}
    apply, axes = jax.jit(quantizer_of(case).apply), tuple(range(batches[0].ndim - 1)) if case["pc"] else None
    for (scale, rest), x in zip(states, batches, strict=True):
        learned = {key: np.reshape(value, shapes[key]) for key, value in {"scale": scale, **rest}.items()}
        yield np.square(apply(learned, x) - x).sum(axes)


def states(g, name, step, learned):
    """(scale, rest) as found, and as the original has it."""
    rest = {key: value for key, value in learned.items() if key != "scale"}
    theirs = {"low": rest["low"]} if "low" in rest else {"zero": g[f"{name}_zero{step}"]}
    return (learned["scale"], rest), (g[f"{name}_delta{step}"], theirs)


@pytest.mark.parametrize("name", [name for name in CASES if name not in SEARCHED + SHIFTED])
def test_ranges_are_the_original(name):
    g, case, _ = recorded(name)
    for step, (_, learned, _) in enumerate(estimates(name)):
        np.testing.assert_allclose(np.ravel(learned["scale"]), np.ravel(g[f"{name}_delta{step}"]), rtol=1e-5)
        if case["method"] == "sym":
            assert (learned["low"] < 0) == bool(g[f"{name}_signed{step}"])
        else:
            np.testing.assert_allclose(np.ravel(learned["zero"]), np.ravel(g[f"{name}_zero{step}"]), rtol=1e-5)
    y = estimates(name)[-1][2]
    np.testing.assert_allclose(y, channels_last(case, g[f"{name}_y"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in GRIDS if name not in SHIFTED])
def test_losses_of_the_grid_are_the_original(name):
    g, case, _ = recorded(name)
    estimate, _, _ = estimates(name)[-1]
    np.testing.assert_allclose(estimate.reach, g[f"{name}_search"], rtol=1e-6)
    found = np.asarray(estimate.found).reshape(len(estimate.found), -1).T
    if case["method"] == "asym":  # one-sided: every candidate without shift, infinity for the others
        assert np.isfinite(found).mean() == 1 / 8
        found = found[np.isfinite(found)][None]
    np.testing.assert_allclose(found, g[f"{name}_loss_array"][:, 1:], rtol=1e-5)


def losses_of_both_roundings(case, x, reach, ends):
    """(2, C, K): with the thresholds of the manifest's notes, ties of the zero point rounded down or up."""
    steps, x = 2 ** case["bits"] - 1, np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1)) if case["pc"] else None
    found = []
    for k, shift in itertools.product(range(1, case["opts"]["num_candidates"] + 1), range(2 ** case["bits"] // 4)):
        for sign in (1, -1):
            half = reach * k / case["opts"]["num_candidates"]
            skew = sign * shift * 2 * half / steps
            low, high = max(skew - half, ends[0]), min(skew + half, ends[1])
            scale = (high - low) / steps
            place = -low / scale
            for zero in (np.ceil(place - 0.50001), np.floor(place + 0.50001)):
                y = scale * (np.clip(np.round(x / scale) + zero, 0, steps) - zero)
                found.append(np.sum((x - y) ** 2, axes).reshape(-1))
    return np.stack(found).reshape(-1, 2, found[0].size).transpose(1, 2, 0)


@pytest.mark.parametrize("name", SHIFTED)
def test_shifted_candidates_are_the_original_up_to_the_rounding_of_ties(golden, name):
    """The original's zero points lie half way between integers and fall to either side by the last bit.

    So its losses are those of one rounding or the other. Ours round down for shifts up and up for shifts down, and
    our best is no worse."""
    g, case = golden("osc_range_estimators"), CASES[name]
    batches = [channels_last(case, x) for x in g[f"{name}_x"]]
    estimate, learned, _ = estimates(name)[-1]
    np.testing.assert_allclose(estimate.reach, g[f"{name}_search"], rtol=1e-6)
    ends = batches[0].min() - 0.5, batches[0].max() + 0.5
    down, up = sum(losses_of_both_roundings(case, x, np.float64(g[f"{name}_search"]), ends) for x in batches)
    theirs = g[f"{name}_loss_array"][:, 1:].reshape(down.shape)
    ours = np.asarray(estimate.found).reshape(len(estimate.found), -1).T
    assert np.all(np.isclose(theirs, down, rtol=1e-4) | np.isclose(theirs, up, rtol=1e-4))
    np.testing.assert_allclose(ours[:, 0::2], down[:, 0::2], rtol=1e-4)
    np.testing.assert_allclose(ours[:, 1::2], up[:, 1::2], rtol=1e-4)
    last = states(g, name, len(batches) - 1, learned)
    found, original = (sum(squared_errors(case, [state] * len(batches), batches)) for state in last)
    assert np.all(found <= original * (1 + 1e-5))


@pytest.mark.parametrize("name", SEARCHED)
def test_golden_section_is_the_original(name):
    g, case, batches = recorded(name)
    for step, (_, learned, _) in enumerate(estimates(name)):
        ours, theirs = squared_errors(case, states(g, name, step, learned), [batches[step]] * 2)
        assert np.all(ours <= theirs * (1 + 1e-5)), (name, step, ours, theirs)


def test_minmax_by_hand():
    x = np.float32([[-1.0, 2.0], [0.5, 3.0]])
    for ranges, expected in (("minmax", [3.0, 3.0]), ("running_minmax", [3.0, 0.75 * 3 + 0.25 * 7])):
        options = {"momentum": 0.75} if ranges == "running_minmax" else {}
        for per_channel, columns in ((False, 1), (True, 2)):
            quantizer = lsq(3, ranges=ranges, per_channel=per_channel, **options)
            start, update, learned = map(jax.jit, quantizer.ranges)
            estimate, found = start(x), []
            for batch in (x, np.float32([[1.0, 7.0], [0.0, -4.0]])):
                estimate = update(estimate, batch)
                found.append(np.ravel(learned(estimate)["scale"])[-1] * 3)
            assert len(np.ravel(estimate.low)) == columns
            np.testing.assert_allclose(found, [3.0, 7.0] if ranges == "minmax" else expected, rtol=1e-6)


def test_a_percentile_leaves_outliers_out():
    x = jnp.asarray(np.append(np.linspace(-1, 1, 199), 50.0), jnp.float32)
    found = lsq(4, ranges="minmax", percentile=1.0)
    estimate = found.ranges.update(found.ranges.start(x), x)
    np.testing.assert_allclose([estimate.low, estimate.high], np.percentile(x, [1, 99]), rtol=1e-5)


def learned_once(quantizer, x):
    """The learned state that the ranges find with x alone."""
    return quantizer.ranges.learned(quantizer.ranges.update(quantizer.ranges.start(x), x))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", ["mse", "golden_section"])
def test_searched_ranges_beat_the_extremes(name, symmetric):
    x = np.float32(np.random.default_rng(0).normal(0.5, 1.0, 2000))
    quantizer = lsq(3, ranges=name, symmetric=symmetric)

    @jax.jit
    def errors(x):
        states = learned_once(quantizer, x), quantizer.init(x)
        return [jnp.mean((quantizer.apply(state, x) - x) ** 2) for state in states]

    error, widest = errors(x)
    assert error < 0.8 * widest


@pytest.mark.parametrize("name", sorted(RANGES))
@pytest.mark.parametrize("args", [{}, {"symmetric": False}, {"per_channel": True, "log_scale": True}], ids=str)
def test_the_found_state_has_the_shapes_of_init_and_an_update_is_traced_once(name, args):
    x = np.float32(np.random.default_rng(1).normal(size=(6, 5, 3)))
    quantizer, traces = lsq(3, ranges=name, **args), []

    @jax.jit
    def update(estimate, x):
        traces.append(1)
        return quantizer.ranges.update(estimate, x)

    estimate = jax.jit(quantizer.ranges.start)(x)
    for step in range(3):
        estimate = update(estimate, x * (step + 1))
    learned = jax.jit(quantizer.ranges.learned)(estimate)
    assert len(traces) == 1
    assert jax.tree.map(jnp.shape, learned) == jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(quantizer.init, x))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(learned))


@pytest.mark.parametrize("name", sorted(RANGES))
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_tensor_of_zeros_gives_a_usable_state(name, symmetric):
    quantizer, x = lsq(4, ranges=name, symmetric=symmetric), np.zeros(7, np.float32)
    np.testing.assert_array_equal(jax.jit(lambda x: quantizer.apply(learned_once(quantizer, x), x))(x), x)


def test_minimize_agrees_with_scipy():
    centers = np.array([0.3, 1.7, 2.5], np.float32)

    def function(x, center):
        return (x - center) ** 2 + 0.1 * (x - center) ** 4

    low, high = jnp.zeros(3), jnp.full(3, 3.0)
    found = jax.jit(lambda: minimize(lambda x: function(x, jnp.asarray(centers)), low, high))()
    expected = [minimize_scalar(function, args=(c,), bounds=(0, 3), method="bounded").x for c in centers]
    # A minimum is flat: 1e-3 away costs 1e-6, which float32 cannot tell from nothing.
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("symmetric", [True, False])
def test_more_candidates_need_no_more_memory(symmetric):
    x = jnp.zeros((64, 1024))

    def memory(candidates):
        ranges = lsq(3, symmetric=symmetric, candidates=candidates).ranges
        return jax.jit(ranges.update).lower(ranges.start(x), x).compile().memory_analysis().temp_size_in_bytes

    few, many = memory(10), memory(200)
    assert many - few < 0.1 * x.nbytes
    assert many < 4 * x.nbytes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"ranges": "max"}, "ranges='max' is unknown; choose from golden_section, minmax, mse, running_minmax"),
        ({"percentile": 50.0, "ranges": "minmax"}, "percentile=50.0 is out of range; choose 0 up to 50"),
        ({"momentum": 1.0, "ranges": "running_minmax"}, "momentum=1.0 is out of range; choose 0 up to 1"),
        ({"candidates": 0}, "candidates=0 is out of range; choose 1 or more"),
        ({"margin": -0.1}, "margin=-0.1 is out of range; choose 0 or more"),
        (
            {"percentile": 1.0},
            "percentile=1.0 has no effect with ranges='mse'; choose ranges from minmax, running_minmax",
        ),
    ],
)
def test_refusals(args, message):
    assert refused(lsq, 4, **args) == message
