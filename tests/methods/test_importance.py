"""The estimators against a plain loop over examples, on a small convolution, and how they stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.base import Examples
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.importance import CHUNK, FISHERS, Probe, estimator, mean
from tests.methods import recorded

CROSS_ENTROPY = LOSSES["cross_entropy"]()
COUNTS = jnp.array([10.0, 4.0, 1.0])
PARAMS = {
    "conv": 0.3 * jax.random.normal(jax.random.key(0), (3, 3, 2, 4)),
    "logit": 0.5 * jax.random.normal(jax.random.key(1), (4, 3)),
}


def head(params, feature):
    return feature @ params["logit"]


def convnet(params, image, shift=0.0):
    maps = jax.lax.conv_general_dilated(
        image, params["conv"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    feature = jnp.mean(jax.nn.relu(maps + shift), axis=(1, 2))
    return Outputs(head(params, feature), feature)


def batch(seed, size, padding=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    weight = jnp.array([1.0] * (size - padding) + [0.0] * padding)
    label = jax.random.randint(keys[1], (size,), 0, 3)
    zeros = jnp.zeros(size, jnp.int32)
    return Batch(jax.random.normal(keys[0], (size, 8, 8, 2)), label, weight, zeros, zeros > 0, jnp.arange(size))


def probe(apply=convnet):
    return Probe(apply if isinstance(apply, Partial) else Partial(apply), Partial(head), PARAMS, COUNTS, jnp.float32(1))


def estimate(contribution, batches, key=jax.random.key(7)):  # noqa: B008
    return mean(estimator(contribution)(probe(), batches, key))


def squares(params, batch, loss=CROSS_ENTROPY):
    """(gradient)^2 of the batch-mean loss, by jax.grad alone."""
    fixed = (batch.label, batch.weight, COUNTS, jnp.ones(()))
    value = lambda p: jnp.mean(loss(Examples(*convnet(p, batch.image), *fixed)))  # noqa: E731
    return jax.tree.map(jnp.square, jax.grad(value)(params))


def average(trees):
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)


def single(batch, i):
    return jax.tree.map(lambda x: x[i : i + 1], batch)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_batch_is_the_mean_over_batches(loss):
    batches = [batch(0, 6), batch(1, 6), batch(2, 3)]
    expected = average([squares(PARAMS, b, LOSSES[loss]()) for b in batches])
    recorded.close(estimate(FISHERS["batch"](LOSSES[loss]()), batches), expected, rtol=2e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_empirical_is_the_mean_over_examples(loss):
    batches = [batch(0, 6), batch(1, 2)]
    expected = average([squares(PARAMS, single(b, i), LOSSES[loss]()) for b in batches for i in range(len(b.label))])
    recorded.close(estimate(FISHERS["empirical"](LOSSES[loss]()), batches), expected, rtol=2e-5)


@pytest.mark.parametrize("size", [17, 37])
def test_examples_of_any_batch_go_together_and_no_more_than_a_chunk_of_them(size):
    whole, contribution = batch(0, size), FISHERS["empirical"](CROSS_ENTROPY)
    found = contribution(probe(), whole, jax.random.key(0))
    recorded.close(
        found.total,
        jax.tree.map(lambda *leaves: sum(leaves), *(squares(PARAMS, single(whole, i)) for i in range(size))),
        rtol=2e-5,
    )
    text = str(jax.make_jaxpr(contribution)(probe(), whole, jax.random.key(0)))
    number = -(-size // CHUNK)
    assert f"length={number}\n" in text and f"f32[{-(-size // number)},3,3,2,4]" in text


@pytest.mark.parametrize(("name", "scale"), [("sampled", 1), ("sampled_batch", 2)])
def test_sampled_tends_to_the_true_fisher(name, scale):
    """Of the mean of independent examples to its share: the gradient of a drawn label is 0 on average."""
    data = batch(3, 2)
    log_p = jax.nn.log_softmax(convnet(PARAMS, data.image).logits)
    exact = []
    for i in range(2):
        terms = [
            jax.tree.map(
                lambda g, i=i, y=y: jnp.exp(log_p[i, y]) * g,
                squares(PARAMS, single(data, i)._replace(label=jnp.array([y]))),
            )
            for y in range(3)
        ]
        exact.append(jax.tree.map(lambda *t: sum(t), *terms))
    actual = estimate(FISHERS[name](CROSS_ENTROPY), [data] * 2000)
    recorded.close(jax.tree.map(lambda leaf: scale * leaf, actual), average(exact), rtol=0.1)


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_padding_does_not_count(name):
    whole = batch(0, 8, padding=3)
    garbage = whole._replace(image=whole.image.at[5:].set(100.0))
    contribution = FISHERS[name](CROSS_ENTROPY)
    recorded.close(estimate(contribution, [whole]), estimate(contribution, [garbage]))
    if name != "sampled":  # whose draws depend on the number of rows
        short = jax.tree.map(lambda x: x[:5], whole)
        recorded.close(estimate(contribution, [whole]), estimate(contribution, [short]))


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_a_batch_of_padding_changes_nothing(name):
    contribution = FISHERS[name](CROSS_ENTROPY)
    batches = [batch(0, 4), batch(1, 4, padding=4)]
    recorded.close(estimate(contribution, batches), estimate(contribution, batches[:1]))


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_no_examples_are_refused(name):
    contribution = FISHERS[name](CROSS_ENTROPY)
    for batches in ([], [batch(0, 4, padding=4)]):
        with pytest.raises(Refusal, match="^importance: the loaders .* yield 0 examples; at least 1 is needed$"):
            estimate(contribution, batches)


def test_batches_stream_and_compile_once():
    traces, alive = [], []

    def contribution(probe, batch, key):
        traces.append(1)
        return FISHERS["batch"](CROSS_ENTROPY)(probe, batch, key)

    def stream():
        for seed in range(5):
            alive.append(len(traces))
            yield batch(seed, 4)

    estimator(contribution)(probe(), stream(), jax.random.key(0))
    assert alive == [0, 1, 1, 1, 1]  # each batch is asked for after the one before it was used


def test_new_statistics_in_a_partial_compile_nothing():
    traces = []

    def contribution(probe, batch, key):
        traces.append(1)
        return FISHERS["batch"](CROSS_ENTROPY)(probe, batch, key)

    run = estimator(contribution)
    results = [
        run(probe(Partial(convnet, shift=jnp.float32(shift))), [batch(0, 4)], jax.random.key(0)).total
        for shift in (0.0, 0.5)
    ]
    assert len(traces) == 1
    assert not bool(jnp.all(results[0]["conv"] == results[1]["conv"]))


@pytest.mark.parametrize("name", ["sampled", "sampled_batch"])
def test_draws_follow_the_key(name):
    contribution = FISHERS[name](CROSS_ENTROPY)
    one, same, other = (estimate(contribution, [batch(0, 8)] * 2, jax.random.key(k))["logit"] for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not bool(jnp.all(one == other))
