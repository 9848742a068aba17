import jax
import numpy as np
import pytest

from lifeq_jax.layers.initial import HE_NORMAL, LECUN_NORMAL, TORCH_UNIFORM

# A kernel of each kind, what one of its outputs sums over, and what one of its inputs goes to.
SHAPES = [((3, 3, 40, 20), 360, 180), ((100, 50), 100, 50)]


def drawn(initial, shape):
    """As NumPy draws it, and as Flax does."""
    yield initial.draw(np.random.default_rng(0), shape)
    yield np.asarray(initial.initializer()(jax.random.key(0), shape))


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
