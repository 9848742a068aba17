"""Tracking, dampening and freezing: by hand, against the original's traces, and what freezing promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.tree import map_named, named_leaves, total
from lifeq_jax.methods import OSCILLATIONS
from lifeq_jax.methods.base import StepInfo
from lifeq_jax.methods.combine import combine
from lifeq_jax.methods.lifequant import lifequant
from lifeq_jax.methods.oscillation import dampen, freeze, new_track, observe, track
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import QUANTIZERS, codes
from tests import vectors
from tests.methods import toy
from tests.methods.trainer import start
from tests.refusals import refused
from tests.torch_layout import under

LSQ = QUANTIZERS["lsq"]
TABLE = {"fine/kernel": LSQ(8), "coarse/kernel": LSQ(3)}
PARAMS = {
    "fine": {"kernel": jnp.array([[0.3, -1.0]]), "quantizer": {"scale": jnp.array(0.01), "low": jnp.array(-128.0)}},
    "coarse": {"kernel": jnp.array([[0.6, -1.2]]), "quantizer": {"scale": jnp.array(0.5), "low": jnp.array(-4.0)}},
    "bias": jnp.array([1.0, 2.0]),
}


def at(*coarse):
    """PARAMS with other weights in the coarse layer."""
    return {**PARAMS, "coarse": {**PARAMS["coarse"], "kernel": jnp.array([coarse])}}


def begun(method, params):
    return jax.jit(lambda params: method.init(start(params)))(params)


def run(method, points, progress=None):
    """The state after each of the points that training passes."""
    state, states, observe = begun(method, points[0]), [], jax.jit(method.observe)
    for i, (old, new) in enumerate(zip(points, points[1:], strict=False)):
        share = (i + 1) / (len(points) - 1) if progress is None else progress[i]
        state = observe(state, StepInfo(old, new, old, jnp.float32(share)))
        states.append(state)
    return states


tracked = jax.jit(observe, static_argnames="use_average")


def follow(path, **arguments):
    """The track of one weight through the codes of `path`."""
    state = jax.jit(new_track)(np.array(path[:1], np.int32))
    for value in path[1:]:
        state = tracked(state, np.array([value], np.int32), **arguments)
    return jax.tree.map(lambda leaf: leaf.item(), state)


def test_by_hand():
    # up, up, down (against the last change), nothing, up (against it again)
    end = follow([0, 1, 2, 1, 1, 2], momentum=0.5)
    assert (end.codes, end.direction, end.total) == (2, 1, 2)
    np.testing.assert_allclose(end.frequency, ((0.5 * 0.5) + 1) * 0.5, rtol=1e-6)
    assert not end.frozen


def test_average_by_hand():
    # 0 -> 2 -> 6 at momentum 1/2: 1, then 3.5
    assert follow([0, 2, 6], momentum=0.5).average == 3.5


@pytest.mark.parametrize(("use_average", "held"), [(True, 0), (False, 1)])
def test_freezes_at_the_average_or_at_the_code(use_average, held):
    # the weight has been at 0 for long; f = 0.1 after the second change of direction
    arguments = dict(momentum=0.1, threshold=0.15, use_average=use_average)
    end = follow([0, 0, 0, 1, 0, 1], **arguments)
    assert (end.frozen, end.held, end.placed) == (True, held, False)
    assert follow([0, 0, 0, 1, 0, 1, held], **arguments).placed


def test_freezes_once_and_for_all():
    # the average is near 4 at the end, but the code was fixed before
    end = follow([0, 1, 0, 0, *[4] * 30], momentum=0.5, threshold=0.4)
    assert (end.frozen, end.held) == (True, 0)


def test_a_code_that_could_not_be_had_is_that_of_the_next_step():
    arguments = dict(momentum=0.5, threshold=0.4)
    assert follow([0, 1, 0], **arguments).held == 0
    assert follow([0, 1, 0, 3], **arguments).held == 3
    assert follow([0, 1, 0, 3, 0], **arguments).held == 3


def test_threshold_zero_never_freezes():
    assert not follow([0, 1] * 20, momentum=0.5, threshold=0.0).frozen


TRACES = vectors.cases("osc_tracker")


def codes_of(x, facts):
    """The integers of a recorded sequence, which holds integers or weights."""
    if facts["kind"] == "int":
        return x.astype(np.int32)
    learned = {"scale": jnp.float32(facts["scale"]), "low": jnp.float32(-(2.0 ** (facts["bits"] - 1)))}
    return np.array(jax.jit(LSQ(facts["bits"]).codes)(learned, x).values)


@pytest.mark.parametrize("case", TRACES)
def test_tracker_is_the_originals(case):
    facts, arrays = TRACES[case], under(vectors.arrays("osc_tracker"), f"{case}_")
    momentum, use_average = facts["momentum"], facts["use_ema"]
    sequence, threshold = codes_of(arrays["x"], facts), arrays["thr"]
    assert arrays["thr_margin"].min() > 1e-6  # nothing may freeze at another step
    state = jax.jit(new_track)(sequence[0])
    for t, limit in enumerate(threshold):
        values = np.where(state.frozen, state.held, sequence[t])
        if t > 0 and limit > 0 and threshold[t - 1] == 0:
            # The original's average begins with the first step that may freeze, ours with training.
            state = state._replace(average=values.astype(np.float32))
        old, state = state, tracked(state, values, momentum, np.float32(limit), use_average=use_average)
        np.testing.assert_array_equal(values, arrays["x_out"][t])
        # A direction is previous minus new code there, and a code is assigned on and on while f is above.
        np.testing.assert_array_equal(-np.array(state.direction), arrays["prev_dir"][t])
        np.testing.assert_array_equal(state.total, arrays["total"][t])
        np.testing.assert_array_equal(np.sum(state.total) - np.sum(old.total), arrays["osc_sum"][t])
        np.testing.assert_array_equal(state.frozen, arrays["frozen"][t])
        np.testing.assert_array_equal(state.held, arrays["frozen_x_int"][t])
        for row in np.flatnonzero(arrays["sel"] == t):
            np.testing.assert_allclose(state.frequency, arrays["ema_osc"][row], rtol=1e-5, atol=1e-9)
            if use_average and limit > 0:
                np.testing.assert_allclose(state.average, arrays["ema_x_int"][row], rtol=1e-5, atol=1e-6)


def test_only_coarse_kernels_are_tracked():
    assert set(begun(track(TABLE), PARAMS).tracks) == {"coarse/kernel"}
    assert set(begun(track(TABLE, max_bits=8), PARAMS).tracks) == set(TABLE)


def test_tracks_the_codes_of_the_new_parameters():
    (state,) = run(track(TABLE, momentum=0.5), [at(0.6, -1.2), at(0.8, -1.2)])
    np.testing.assert_array_equal(state.tracks["coarse/kernel"].codes, [[2, -2]])
    np.testing.assert_array_equal(state.tracks["coarse/kernel"].direction, [[1, 0]])


FLIPS = [at(0.6, -1.2), at(0.8, -1.2)] * 10


def first_freeze(method, progress):
    """Index of the first step after which a weight is frozen."""
    states = run(method, FLIPS, progress)
    return next(i for i, state in enumerate(states) if np.array(state.tracks["coarse/kernel"].frozen)[0, 0])


@pytest.mark.parametrize(
    ("threshold", "threshold_end", "step"),
    # f after steps 0, 1, 2, ...: 0, 0.2, 0.36, 0.488, ...
    [(0.3, 0.3, 2), (0.3, 0.2, 9), (0.99, 0.85, 13)],
)
def test_threshold_is_constant_or_annealed_after_the_start(threshold, threshold_end, step):
    progress = [(i + 1) / 19 for i in range(19)]
    method = freeze(TABLE, threshold, threshold_end, start=0.5, momentum=0.2)
    frequency = [1 - 0.8**i for i in range(19)]
    limit = [threshold if threshold == threshold_end or p >= 0.5 else np.inf for p in progress]
    if threshold != threshold_end:
        decay = [(1 + np.cos(np.pi * (p - 0.5) / 0.5)) / 2 for p in progress]
        limit = [
            threshold_end + (threshold - threshold_end) * d if x < np.inf else x
            for x, d in zip(limit, decay, strict=True)
        ]
    expected = next(i for i in range(19) if frequency[i] > limit[i])
    assert expected == first_freeze(method, progress) == step


def optimizer_of(method):
    return method_chain(
        method.gradients, sgd_by_progress(constant(0.3), 0.5, 0.3), adam_by_progress(constant(0.05)), method.constraint
    )


def drive(method, params, table, steps, seed):
    """Trains on the loss <noise, quantized weights>, noise new in each step. Yields parameters and state after each."""
    optimizer = optimizer_of(method)
    state, opt_state = method.init(start(params)), optimizer.init(params)
    quantized = codes.mask(table, params)

    @jax.jit
    def step(params, state, opt_state, noise, progress):
        def loss(p):
            weights = codes.quantize_kernels(table, p)
            return total(jax.tree.map(jnp.multiply, noise, weights)) + method.penalty(state, p, weights)

        grads = jax.grad(loss)(params)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, progress=progress, method_state=state, quantized=quantized
        )
        new = optax.apply_updates(params, updates)
        return new, method.observe(state, StepInfo(params, new, grads, progress)), opt_state

    rng = np.random.default_rng(seed)
    for i in range(steps):
        noise = map_named(
            lambda name, leaf: np.asarray((not codes.is_learned(name)) * rng.normal(size=leaf.shape), np.float32),
            params,
        )
        params, state, opt_state = step(params, state, opt_state, noise, np.float32((i + 1) / steps))
        yield params, state


ROWS = {
    "lsq": functools.partial(LSQ, 3),
    "lsq_per_channel": functools.partial(LSQ, 4, per_channel=True, grad_scale=True),
    "lsq_asymmetric": functools.partial(LSQ, 3, symmetric=False),
    "lsq_log": functools.partial(LSQ, 2, log_scale=True),
    "proxq": functools.partial(QUANTIZERS["proxq"], 3),
    "proxq_open": functools.partial(QUANTIZERS["proxq"], 4, levels="open"),
    "proxq_1": functools.partial(QUANTIZERS["proxq"], 1),
    "minmax": functools.partial(QUANTIZERS["minmax"], 4),
    "dorefa": functools.partial(QUANTIZERS["dorefa"], 2),
}


@functools.cache
def layer_under(row):
    """A layer whose kernel is under the quantizer `row`, and the table that says so."""
    quantizer, kernel = ROWS[row](), (0.7 * np.random.default_rng(0).normal(size=(3, 3, 2, 4))).astype(np.float32)
    layer, learned = {"kernel": kernel, "bias": np.zeros(4, np.float32)}, jax.jit(quantizer.init)(kernel)
    return {**layer, "quantizer": learned} if learned else layer, {"conv/kernel": quantizer}


def network(row):
    """Parameters of its own with that layer, and the table."""
    layer, table = layer_under(row)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), {"conv": layer}), table


@functools.cache
def compiled_codes(row):
    return jax.jit(lambda params: codes.kernel_codes(layer_under(row)[1], params)["conv/kernel"].values)


@pytest.mark.parametrize("with_lifequant", [False, True])
@pytest.mark.parametrize("row", sorted(ROWS))
def test_a_frozen_code_never_changes(row, with_lifequant):
    params, table = network(row)
    control = freeze(table, threshold=0.2, threshold_end=0.2, momentum=0.1)
    method = combine(lifequant(prox=0.1), control) if with_lifequant else control
    fixed: dict = {}
    for now, state in drive(method, params, table, 60, seed=1):
        kernel = (state[1] if with_lifequant else state).tracks["conv/kernel"]
        placed, held = np.array(kernel.placed).reshape(-1), np.array(kernel.held).reshape(-1)
        values = np.array(compiled_codes(row)(now)).reshape(-1)
        np.testing.assert_array_equal(values[placed], held[placed])
        for place in np.flatnonzero(placed):
            assert fixed.setdefault(place, values[place]) == values[place]
    assert len(fixed) > 10


def test_a_frozen_weight_follows_the_scale():
    params, table = network("lsq")
    control = freeze(table, threshold=0.2, threshold_end=0.2, momentum=0.1)
    *_, (params, state) = drive(control, params, table, 60, seed=2)
    kernel, layer = state.tracks["conv/kernel"], params["conv"]
    assert float(layer["quantizer"]["scale"]) != float(network("lsq")[0]["conv"]["quantizer"]["scale"])
    expected, placed = np.array(kernel.held) * np.array(layer["quantizer"]["scale"]), np.array(kernel.placed)
    np.testing.assert_allclose(np.array(layer["kernel"])[placed], expected[placed], rtol=1e-6)


def test_a_task_begins_with_nothing_frozen():
    params, table = network("lsq")
    control = freeze(table, threshold=0.2, threshold_end=0.2, momentum=0.1)
    *_, (params, state) = drive(control, params, table, 60, seed=2)
    assert np.sum(state.tracks["conv/kernel"].frozen) > 0
    fresh = control.end_task(state, toy.task_end(0, toy.init())._replace(params=params))
    jax.tree.map(np.testing.assert_array_equal, fresh, begun(control, params))


def test_dampening_by_hand():
    method = dampen(TABLE, strength=2.0, start=0.5, aggregation="sum")
    (state,) = run(method, [PARAMS, PARAMS], progress=[0.75])
    # half of 2 at the middle of the second half; coarse: 0.6 -> 0.5, -1.2 -> -1.0; fine: exactly on its grid
    weights = jax.jit(functools.partial(codes.quantize_kernels, TABLE))(PARAMS)
    value, grads = jax.jit(jax.value_and_grad(lambda p: method.penalty(state, p, weights)))(PARAMS)
    np.testing.assert_allclose(value, 1.0 * (0.1**2 + 0.2**2), rtol=1e-5)
    np.testing.assert_allclose(grads["coarse"]["kernel"], [[2 * 0.1, -2 * 0.2]], rtol=1e-5)
    np.testing.assert_allclose(grads["bias"], [0.0, 0.0])


@pytest.mark.parametrize(
    ("control", "name"), [(dampen, "strength"), (dampen, "strength_start"), (freeze, "threshold_end")]
)
def test_numbers_are_data_so_that_other_ones_compile_nothing(control, name):
    params = at(0.0, 1.0)

    def lowered(value):
        method = control(TABLE, **{name: value})

        def step(state, params):
            penalty = method.penalty(state, params, codes.quantize_kernels(TABLE, params))
            return penalty, method.observe(state, StepInfo(params, params, params, jnp.ones(())))

        return jax.jit(step).lower(method.init(start(params)), params).as_text()

    assert lowered(0.02) == lowered(0.03)


def test_dampening_starts_with_its_first_strength():
    method = dampen(TABLE, strength=2.0, strength_start=1.0, start=0.5, aggregation="sum")
    value = jax.jit(lambda p: method.penalty(method.init(start(p)), p, codes.quantize_kernels(TABLE, p)))(PARAMS)
    np.testing.assert_allclose(value, 0.05, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(OSCILLATIONS))
def test_state_keeps_its_shapes_and_compiled_equals_eager(name):
    params, table = network("lsq")
    method = OSCILLATIONS[name](table)
    moved = jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(1.3), params)
    state = method.init(start(params))
    info = StepInfo(params, moved, params, jnp.float32(0.5))
    eager, compiled = method.observe(state, info), jax.jit(method.observe)(state, info)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(compiled)] == shapes
    assert jax.tree.structure(state) == jax.tree.structure(compiled)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), eager, compiled)


@pytest.mark.parametrize("name", sorted(OSCILLATIONS))
def test_state_and_parameters_can_be_donated_together(name):
    params, table = network("lsq")
    donated = jax.jit(lambda both: jax.tree.map(lambda x: x + 0, both), donate_argnums=0)
    state, params = donated((OSCILLATIONS[name](table).init(start(params)), params))
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state, params))]
    assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize("name", ["dampen", "freeze", "none", "track"])
def test_a_network_without_coarse_kernels_trains_on(name):
    params, table = network("lsq")
    table = {"conv/kernel": LSQ(8)}
    *_, (params, state) = drive(OSCILLATIONS[name](table), params, table, 3, seed=0)
    assert state.tracks == {}
    assert all(np.all(np.isfinite(leaf)) for leaf in named_leaves(params).values())


@pytest.mark.parametrize(
    ("make", "arguments", "line"),
    [
        (track, {"momentum": 0.0}, "oscillation.args.momentum=0.0 is not in (0, 1]"),
        (track, {"max_bits": 9}, "oscillation.args.max_bits=9 is not in [1, 8]"),
        (freeze, {"threshold": 0.0}, "oscillation.args.threshold=0.0 is not in (0, 1]"),
        (freeze, {"threshold_end": 1.5}, "oscillation.args.threshold_end=1.5 is not in (0, 1]"),
        (freeze, {"start": 1.0}, "oscillation.args.start=1.0 is not in [0, 1)"),
        (dampen, {"start": -0.1}, "oscillation.args.start=-0.1 is not in [0, 1)"),
        (dampen, {"strength": -1.0}, "oscillation.args.strength=-1.0 is not a finite number from 0 on"),
        (
            dampen,
            {"aggregation": "max"},
            "oscillation.args.aggregation='max' is unknown; choose from kernel_mean, mean, sum",
        ),
    ],
)
def test_refuses_what_is_out_of_range(make, arguments, line):
    assert refused(make, TABLE, **arguments) == line
