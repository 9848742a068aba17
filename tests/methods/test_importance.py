"""The estimators against a plain loop over examples, on a small convolution, and how they stream."""

import functools

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
    "conv": jnp.asarray(0.3 * np.random.default_rng(0).normal(size=(3, 3, 2, 4)), jnp.float32),
    "logit": jnp.asarray(0.5 * np.random.default_rng(1).normal(size=(4, 3)), jnp.float32),
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
    random, rows = np.random.default_rng(seed), np.arange(size, dtype=np.int32)
    image, label = random.normal(size=(size, 8, 8, 2)).astype(np.float32), random.integers(3, size=size, dtype=np.int32)
    return Batch(image, label, np.float32(rows < size - padding), 0 * rows, rows < 0, rows)


def probe(apply=convnet):
    return Probe(apply if isinstance(apply, Partial) else Partial(apply), Partial(head), PARAMS, COUNTS, jnp.float32(1))


compiled = functools.cache(lambda name: estimator(FISHERS[name](CROSS_ENTROPY)))


def estimate(run, batches, key=jax.random.key(7)):  # noqa: B008
    return mean(run(probe(), batches, key))


def squares(batch, loss=CROSS_ENTROPY):
    """(gradient)^2 of the batch-mean loss, by jax.grad alone."""
    fixed = (batch.label, batch.weight, COUNTS, jnp.ones(()))
    value = lambda p: jnp.mean(loss(Examples(*convnet(p, batch.image), *fixed)))  # noqa: E731
    return jax.tree.map(jnp.square, jax.grad(value)(PARAMS))


@functools.partial(jax.jit, static_argnums=1)
def of_each(batch, loss=CROSS_ENTROPY):
    """`squares` of one example after the other."""
    return jax.lax.map(lambda example: squares(jax.tree.map(lambda x: x[None], example), loss), batch)


def joined(*batches):
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_batch_is_the_mean_over_batches(loss):
    batches, value = [batch(0, 6), batch(1, 6), batch(2, 3)], LOSSES[loss]()
    each = jax.jit(lambda batches: [squares(b, value) for b in batches])(batches)
    expected = jax.tree.map(lambda *parts: np.mean(parts, axis=0), *each)
    recorded.close(estimate(estimator(FISHERS["batch"](value)), batches), expected, rtol=2e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_empirical_is_the_mean_over_examples(loss):
    batches, value = [batch(0, 6), batch(1, 2)], LOSSES[loss]()
    expected = jax.tree.map(lambda each: np.mean(each, axis=0), of_each(joined(*batches), value))
    recorded.close(estimate(estimator(FISHERS["empirical"](value)), batches), expected, rtol=2e-5)


@pytest.mark.parametrize("size", [17, 37])
def test_examples_of_any_batch_go_together_and_no_more_than_a_chunk_of_them(size):
    whole, contribution = batch(0, size), FISHERS["empirical"](CROSS_ENTROPY)
    found = jax.jit(contribution)(probe(), whole, jax.random.key(0))
    recorded.close(found.total, jax.tree.map(lambda each: np.sum(each, axis=0), of_each(whole)), rtol=2e-5)
    text = str(jax.make_jaxpr(contribution)(probe(), whole, jax.random.key(0)))
    number = -(-size // CHUNK)
    assert f"length={number}\n" in text and f"f32[{-(-size // number)},3,3,2,4]" in text


@pytest.mark.parametrize(("name", "scale"), [("sampled", 1), ("sampled_batch", 2)])
def test_sampled_tends_to_the_true_fisher(name, scale):
    """Of the mean of independent examples to its share: the gradient of a drawn label is 0 on average."""
    data = batch(3, 2)
    p = np.exp(jax.jit(lambda image: jax.nn.log_softmax(convnet(PARAMS, image).logits))(data.image))
    of_label = [of_each(data._replace(label=np.full(2, y, np.int32))) for y in range(3)]
    exact = jax.tree.map(lambda *each: np.einsum("iy,yi...->...", p, np.stack(each)) / 2, *of_label)
    actual = estimate(compiled(name), [data] * 2000)
    recorded.close(jax.tree.map(lambda leaf: scale * leaf, actual), exact, rtol=0.1)


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_padding_does_not_count(name):
    whole = batch(0, 8, padding=3)
    garbage = whole._replace(image=np.where(whole.weight.reshape(-1, 1, 1, 1) > 0, whole.image, np.float32(100)))
    found = estimate(compiled(name), [whole])
    recorded.close(found, estimate(compiled(name), [garbage]))
    if name != "sampled":  # whose draws depend on the number of rows
        recorded.close(found, estimate(compiled(name), [jax.tree.map(lambda x: x[:5], whole)]))


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_a_batch_of_padding_changes_nothing(name):
    batches = [batch(0, 4), batch(1, 4, padding=4)]
    recorded.close(estimate(compiled(name), batches), estimate(compiled(name), batches[:1]))


@pytest.mark.parametrize("name", sorted(FISHERS))
def test_no_examples_are_refused(name):
    for batches in ([], [batch(0, 4, padding=4)]):
        with pytest.raises(Refusal, match="^importance: the loaders .* yield 0 examples; at least 1 is needed$"):
            estimate(compiled(name), batches)


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
    assert not np.all(results[0]["conv"] == results[1]["conv"])


@pytest.mark.parametrize("name", ["sampled", "sampled_batch"])
def test_draws_follow_the_key(name):
    one, same, other = (estimate(compiled(name), [batch(0, 8)] * 2, jax.random.key(k))["logit"] for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.all(one == other)
