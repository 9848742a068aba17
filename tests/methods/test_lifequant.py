"""LifeQuant: its noise, its defining expectation, and what protecting the quantized weights means."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.classify import cross_entropy_of_labels
from lifeq_jax.methods.lifequant import lifequant
from lifeq_jax.quant import QUANTIZERS
from tests.methods import recorded, toy
from tests.methods.trainer import start
from tests.refusals import refused


def original(**arguments):
    given = dict(strength=1.0, fisher="batch", space="latent", prox=0.0, history="recomputed", limit=math.inf)
    return lifequant(**given, **arguments)


def test_noise_counts_batches_and_follows_the_key(golden):
    arrays = golden("lq_importance")
    params = recorded.tree(arrays, "p_old")
    task = recorded.task_end(arrays, params)
    method = original(loss="cross_entropy", noise_bits=4)
    noisy = method.end_task(method.init(start(params)), task).importance
    again = method.end_task(method.init(start(params)), task).importance
    other = method.end_task(method.init(start(params)), task._replace(key=jax.random.key(9))).importance
    jax.tree.map(np.testing.assert_array_equal, noisy, again)
    # 100 draws per feature: a fresh sample agrees with the recorded one
    recorded.close(noisy, recorded.tree(arrays, "ours_mobilenet_balanced_False/importance"), rtol=0.1)
    assert not np.all(noisy["fc1.bias"] == other["fc1.bias"])
    wide = (
        original(loss="cross_entropy", noise_bits=4, act_range=50.0)
        .end_task(method.init(start(params)), task)
        .importance
    )
    assert not np.allclose(wide["fc1.bias"], noisy["fc1.bias"], rtol=0.01)


def finished(method, seed=0, task=0):
    params = toy.init(seed)
    return params, method.end_task(method.init(start(params)), toy.task_end(task, params))


def test_penalty_is_the_expectation_that_defines_it():
    params, state = finished(
        method := lifequant(strength=1.0, loss="cross_entropy", fisher="empirical", limit=math.inf)
    )
    other = toy.init(5)
    (new, old), data = jax.jit(lambda *points: [*map(toy.quantize, points)])(other, params), toy.data(0)

    def example(image, label):
        loss = lambda w: cross_entropy_of_labels(toy.apply_weights(w, image[None]).logits, label[None])[0]  # noqa: E731
        terms = jax.tree.map(lambda n, o, g: jnp.sum(jnp.square((n - o) * g)), new, old, jax.grad(loss)(old))
        return sum(jax.tree.leaves(terms))

    expected = np.mean(jax.jit(jax.vmap(example))(data.image, data.label))
    np.testing.assert_allclose(jax.jit(method.penalty)(state, other, new), expected, rtol=1e-5)


def inside_the_cells(params):
    """Latent weights drawn a third of the way to the middle of their rounding cells: no code changes."""
    kernel, quantizer = params["hidden"]["kernel"], QUANTIZERS["proxq"](toy.BITS)
    level, codes = (jax.jit(partial(function, {})) for function in (quantizer.apply, quantizer.codes))
    middle = np.mean(kernel) + 2 * np.std(kernel, ddof=1) * np.array(level(kernel))
    moved = np.array(kernel) + (middle - np.array(kernel)) / 3
    np.testing.assert_array_equal(codes(moved).values, codes(kernel).values)
    return {**params, "hidden": {**params["hidden"], "kernel": moved}}


def rescaled(params):
    """Latent weights that ProxQ normalizes to the same codes."""
    return {**params, "hidden": {**params["hidden"], "kernel": 2.0 * params["hidden"]["kernel"]}}


@pytest.mark.parametrize("move", [inside_the_cells, rescaled])
def test_moves_that_change_no_output_cost_nothing_in_quantized_space(move):
    quantized = lifequant(strength=1.0)
    latent = lifequant(strength=1.0, space="latent")
    params, state = finished(quantized)
    _, latent_state = finished(latent)
    moved = move(params)
    image = toy.data(0).image
    np.testing.assert_array_equal(toy.apply(moved, image).logits, toy.apply(params, image).logits)
    assert float(quantized.penalty(state, moved, toy.quantize(moved))) == 0.0
    assert float(latent.penalty(latent_state, moved, toy.quantize(moved))) > 0.0


def test_a_changed_code_costs_in_quantized_space():
    params, state = finished(method := lifequant(strength=1.0))
    kernel = params["hidden"]["kernel"]
    moved = {**params, "hidden": {**params["hidden"], "kernel": kernel.at[0, 0].add(0.5)}}
    assert float(method.penalty(state, moved, toy.quantize(moved))) > 0.0


def test_gradient_reaches_the_latent_weights_and_leads_back():
    params, state = finished(method := lifequant(strength=1.0))
    cost = jax.jit(jax.value_and_grad(lambda p: method.penalty(state, p, toy.quantize(p))))
    away = jax.tree.map(lambda p: p + 0.3 * np.sign(p), jax.tree.map(np.asarray, toy.init(5)))
    before, _ = cost(away)
    for _ in range(50):
        _, grads = cost(away)
        assert np.max(np.abs(grads["hidden"]["kernel"])) > 0
        away = jax.tree.map(lambda p, g: p - np.float32(0.2) * np.asarray(g), away, grads)
    assert cost(away)[0] < 0.5 * before


def test_importance_is_taken_at_the_quantized_weights():
    params, state = finished(lifequant())
    jax.tree.map(np.testing.assert_array_equal, state.params, toy.quantize(params))
    _, latent = finished(lifequant(space="latent"))
    jax.tree.map(np.testing.assert_array_equal, latent.params, params)
    assert not np.allclose(state.importance["hidden"]["kernel"], latent.importance["hidden"]["kernel"])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_balanced_importance_weighs_rare_classes(loss):
    params = toy.init()
    method = lifequant(loss=loss)
    shares = []
    for counts in ([32.0, 32.0], [62.0, 2.0]):
        task = toy.task_end(0, params)._replace(counts=jnp.array(counts))
        shares.append(method.end_task(method.init(start(params)), task).importance["classifier"]["bias"])
    assert np.allclose(*shares) == (loss in ("cross_entropy", "focal"))


def test_proximal_step_is_the_constraint():
    params = toy.init()
    updates = jax.tree.map(jnp.zeros_like, params)
    results = {}
    for prox in (0.0, 1.0, float("inf")):
        constraint = lifequant(prox=prox).constraint
        landed, _ = constraint.update(
            updates, constraint.init(params), params, quantized=toy.QUANTIZED, method_state=()
        )
        results[prox] = jax.tree.map(jnp.add, params, landed)
    jax.tree.map(np.testing.assert_array_equal, results[0.0], params)
    deviation = {k: float(jnp.std(v["hidden"]["kernel"], ddof=1)) for k, v in results.items()}
    np.testing.assert_allclose(deviation[float("inf")], 0.5, rtol=1e-5)
    np.testing.assert_allclose(deviation[1.0], (deviation[0.0] + 0.5) / 2, rtol=1e-5)
    for name, leaf in named_leaves(results[1.0]).items():
        if name != "hidden/kernel":
            np.testing.assert_array_equal(leaf, named_leaves(params)[name])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"space": "both"}, "method.args.space='both' is unknown; choose from latent, quantized"),
        ({"loss": "ball"}, "method.args.loss='ball' is unknown; choose from " + ", ".join(sorted(LOSSES))),
        ({"fisher": "x"}, "method.args.fisher='x' is unknown; choose from batch, empirical, sampled, sampled_batch"),
        (
            {"fisher": "sampled", "noise_bits": 4},
            "method.args.noise_bits=4 needs method.args.fisher='batch', not 'sampled'",
        ),
        ({"noise_bits": 4, "act_range": 0.0}, "method.args.act_range=0.0 is not a finite number above 0"),
        ({"prox": -1.0}, "proximal strength=-1.0 is not a number from 0 to inf"),
        ({"limit": 0.0}, "method.args.limit=0.0 is not a number above 0; inf: no limit"),
        ({"range_": 0.0}, "method.args.range_=0.0 is not a finite number above 0"),
    ],
)
def test_refusals(arguments, line):
    assert refused(lifequant, **arguments) == line


def test_noise_bits_are_checked():
    with pytest.raises(Refusal, match="method.args.noise_bits=9 is not a bit-width"):
        lifequant(fisher="batch", noise_bits=9)
