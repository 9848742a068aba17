"""The toy problem: what the paper says of it, and trajectories of the original's parts."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS, codes
from lifeq_jax.toy import SERIES, descend, toy_runs

STEPS = 2000
LENGTH = 300  # of the recorded trajectories
DISTANCES = (0.05, 0.1, 0.2, 0.3, 0.4)
RATES = (0.01, 0.03, 0.1)


@functools.cache
def toy():
    return jax.device_get(toy_runs(STEPS, DISTANCES, RATES))


def test_shapes():
    result = toy()
    assert set(result.series) == set(SERIES)
    for runs in result.series.values():
        assert runs.latent.shape == (len(RATES), STEPS + 1, len(DISTANCES))
        assert runs.frequency.shape == runs.amplitude.shape == (len(RATES), len(DISTANCES))


def test_frequency_grows_with_the_distance():
    # The code is off by 1 - d once for every (1 - d) / d steps off by d: two changes in 1 / d steps.
    for frequency in toy().series["ste"].frequency:
        np.testing.assert_allclose(frequency, 2 * np.array(DISTANCES), rtol=0.02)


def test_the_learning_rate_changes_the_amplitude_not_the_frequency():
    runs = toy().series["ste"]
    np.testing.assert_allclose(runs.frequency[0], runs.frequency[-1], rtol=0.02)
    np.testing.assert_allclose(runs.amplitude[-1] / runs.amplitude[0], RATES[-1] / RATES[0], rtol=0.02)


def test_ewgs_does_not_cure_it():
    result = toy()
    np.testing.assert_allclose(result.series["ewgs"].frequency, result.series["ste"].frequency, rtol=0.05)


@pytest.mark.parametrize("name", ["dampen", "freeze"])
def test_dampening_and_freezing_do(name):
    np.testing.assert_array_equal(toy().series[name].frequency, 0.0)


@pytest.mark.parametrize("name", ["ste", "ewgs"])
def test_oscillating_weights_stay_at_the_threshold(name):
    result = toy()
    away = result.series[name].latent[:, STEPS // 2 :] - result.threshold
    assert np.all(np.abs(away) <= result.series[name].amplitude.max(axis=1).reshape(-1, 1, 1))


@pytest.mark.parametrize("name", ["dampen", "freeze"])
def test_cured_weights_leave_the_threshold(name):
    """A dampened one lies in the cell of its nearest grid point, a frozen one on it."""
    result = toy()
    end = result.series[name].latent[:, -1]
    assert np.all(end < result.threshold - 0.05)
    if name == "freeze":
        np.testing.assert_allclose(end, 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"steps": 3}, "toy.steps=3 is less than 4"),
        ({"distances": (0.1, 0.6)}, "toy.distances=(0.1, 0.6) are not numbers in (0, 0.5]"),
        ({"rates": ()}, "toy.rates=() are not numbers in (0, 1.0]"),
    ],
)
def test_refuses_what_makes_no_problem(arguments, line):
    with pytest.raises(Refusal) as refused:
        toy_runs(**arguments)
    assert str(refused.value) == line


class Case(NamedTuple):
    """A recorded trajectory: 6 weights, 300 steps, 3 bits, scale 0.25."""

    rate: float = 0.05
    momentum: float = 0.0
    quantizer: dict = {}
    control: str = "track"
    arguments: dict = {}
    scale_rate: float = 0.0
    late_average: bool = False  # frozen from the start fraction on, at averages that begin there


FREEZE = {"momentum": 0.01, "threshold": 0.05, "threshold_end": 0.05}
CASES = {
    "y0": Case(),
    "y1": Case(rate=0.01, momentum=0.9),
    "y2": Case(quantizer={"estimator": "ewgs", "estimator_arg": 0.2}),
    "y3": Case(quantizer={"estimator": "stacked_sigmoid", "estimator_arg": 5.0}),
    "y4": Case(control="dampen", arguments={"strength": 0.5, "aggregation": "sum"}),
    "y5": Case(control="dampen", arguments={"strength": 0.3, "strength_start": 0.3, "aggregation": "sum"}),
    "y6": Case(control="freeze", arguments=FREEZE),
    "y7": Case(rate=0.01, momentum=0.9, control="freeze", arguments={**FREEZE, "use_average": False}),
    "y8": Case(
        control="freeze", arguments={"momentum": 0.01, "threshold": 0.08, "threshold_end": 0.01}, late_average=True
    ),
    "y9": Case(scale_rate=0.002),
    "y10": Case(scale_rate=0.02, quantizer={"grad_scale": True}),
}


def counted_as_theirs(method, table, late_average):
    """`method`, with schedules that count the step being taken (ours: the steps done), and with an average of codes
    that begins with the first step that may freeze (ours: with training)."""

    def observe(state, step):
        share = jnp.float32(step.progress) + 1 / LENGTH
        begins = (share >= 0.25) & (share - 1 / LENGTH < 0.25)
        values = codes.kernel_codes(table, step.new_params)["kernel"].values
        track = state.tracks["kernel"]
        average = jnp.where(begins & late_average, values, track.average)
        tracks = {"kernel": track._replace(average=average)}
        return method.observe(state._replace(tracks=tracks), step._replace(progress=share))

    return method._replace(
        init=lambda start: method.init(start)._replace(progress=jnp.float32(1 / LENGTH)), observe=observe
    )


def repeat(arrays, case):
    """Our trajectory of a recorded case. The recorded loss has no factor 1/2."""
    table = {"kernel": QUANTIZERS["lsq"](3, **case.quantizer)}
    method = counted_as_theirs(OSCILLATIONS[case.control](table, **case.arguments), table, case.late_average)
    learned = {"scale": jnp.float32(0.25), "low": jnp.float32(-4)}
    weights, scale = (
        sgd_by_progress(constant(case.rate), case.momentum),
        sgd_by_progress(constant(case.scale_rate), momentum=0.0),
    )
    optimizer = method_chain(method.gradients, weights, scale, method.constraint)
    curvature = 2 * float(np.mean(np.square(arrays["xs"], dtype=np.float64)))
    start, target = jnp.asarray(arrays["w0"]), jnp.asarray(arrays["wstar"])

    def run(kernel):
        params = {"kernel": kernel, "quantizer": learned}
        return descend(params, table["kernel"], target, method, optimizer, LENGTH, curvature)

    return jax.device_get(jax.jit(run)(start)), curvature


@pytest.mark.parametrize("name", sorted(CASES))
def test_trajectories_are_the_originals(golden, name):
    """The first weight, whose best value lies beyond the grid, exactly; the codes of all weights at every step; latent
    weights until they freeze: there a frozen one goes on drifting without effect, ours stands on its code."""
    arrays = {key.removeprefix(f"{name}_"): value for key, value in golden("osc_toy_regression").items()}
    path, curvature = repeat(arrays, CASES[name])
    theirs = np.concatenate([arrays["w_traj"], arrays["w_final"].reshape(1, -1)])
    np.testing.assert_allclose(path.latent[:, 0], theirs[:, 0], rtol=1e-6)
    free = ~path.frozen
    np.testing.assert_allclose(path.latent[free], theirs[free], rtol=1e-5, atol=1e-6)
    if CASES[name].momentum == 0:  # then steps are gradients; theirs of a frozen weight is 0, ours may jump to its code
        early = -np.diff(path.latent, axis=0)[:50] / CASES[name].rate
        np.testing.assert_allclose(early[free[1:51]], arrays["grad"][free[1:51]], rtol=1e-5, atol=5e-6)
    np.testing.assert_array_equal(path.codes[:-1], arrays["q_int"])
    np.testing.assert_allclose(path.scale[:-1], arrays["scale"], rtol=1e-6)
    error = path.codes[:-1] * path.scale[:-1].reshape(-1, 1) - arrays["wstar"]
    np.testing.assert_allclose(curvature / 2 * np.sum(np.square(error), axis=1), arrays["loss"], rtol=1e-5)
