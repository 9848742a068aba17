import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.layers.initial import HE_NORMAL, LECUN_NORMAL, ONES, TORCH_UNIFORM, ZEROS, Orthogonal, stated

# A kernel of each kind, what one of its outputs sums over, and what one of its inputs goes to.
SHAPES = [((3, 3, 40, 20), 360, 180), ((100, 50), 100, 50)]


def drawn(initial, shape):
    """As NumPy draws it, and as Flax does."""
    yield initial.draw(np.random.default_rng(0), shape)
    yield np.asarray(initial(jax.random.key(0), shape))


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), SHAPES)
@pytest.mark.parametrize("initial", [HE_NORMAL, LECUN_NORMAL])
def test_normal(initial, shape, fan_in, fan_out):
    deviation = {HE_NORMAL: (2 / fan_out) ** 0.5, LECUN_NORMAL: (1 / fan_in) ** 0.5}[initial]
    for values in drawn(initial, shape):
        assert values.shape == shape
        assert abs(values.mean()) < 6 * deviation / values.size**0.5
        np.testing.assert_allclose(values.std(), deviation, rtol=6 / (2 * values.size) ** 0.5)
        assert np.abs(values).max() > 3 * deviation  # no uniform distribution of that deviation reaches 2


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), SHAPES)
def test_uniform(shape, fan_in, fan_out):
    for values in drawn(TORCH_UNIFORM, shape):
        assert 0.99 * fan_in**-0.5 < np.abs(values).max() <= fan_in**-0.5
        assert abs(values.mean()) < 6 * (3 * fan_in * values.size) ** -0.5
        np.testing.assert_allclose(values.std(), (3 * fan_in) ** -0.5, rtol=6 / values.size**0.5)


@pytest.mark.parametrize("shape", [(3, 3, 4, 20), (50, 30), (20, 40), (2, 2, 3, 64)])
def test_orthogonal(shape):
    inputs, outputs = int(np.prod(shape[:-1])), shape[-1]
    for values in drawn(Orthogonal(gain=1.5), shape):
        assert values.shape == shape
        matrix = values.reshape(inputs, outputs)
        gram = matrix.T @ matrix if inputs >= outputs else matrix @ matrix.T
        np.testing.assert_allclose(gram, 1.5**2 * np.eye(min(inputs, outputs)), atol=1e-5)


def test_orthogonal_matrices_are_uniform():
    """Every entry of a uniform orthogonal matrix has mean 0 and variance 1/n, the first column's among them."""
    generator = np.random.default_rng(0)
    entries = np.array([Orthogonal().draw(generator, (4, 4)) for _ in range(4000)])
    np.testing.assert_allclose(entries.mean(axis=0), 0.0, atol=6 * 0.5 / 4000**0.5)
    np.testing.assert_allclose(entries.var(axis=0), 0.25, atol=6 * 0.25 * 2**0.5 / 4000**0.5)


def test_constants():
    for initial, value in ((ZEROS, 0.0), (ONES, 1.0)):
        for values in drawn(initial, (3, 2)):
            np.testing.assert_array_equal(values, np.full((3, 2), value))


def test_only_what_an_initializer_has_made_itself_is_stated_by_it():
    with stated() as initializers:
        kernel = HE_NORMAL(jax.random.key(0), (3, 4))
        tree = {"kernel": kernel, "twice": 2 * kernel, "bias": ZEROS(None, (4,)), "other": jnp.zeros(4)}
        assert initializers(tree) == {"kernel": HE_NORMAL, "bias": ZEROS}
    with stated() as initializers:
        assert initializers(tree) == {}
