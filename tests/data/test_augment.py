import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.data.augment import crop_and_flip, normalize
from lifeq_jax.data.order import ImageSpec, train_plan

SPEC = ImageSpec((5, 6, 3), 2, (5, 4), (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), True)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 5, 6, 3)).astype(np.uint8)


def test_normalize_is_its_formula(images):
    values = normalize(jnp.asarray(images), SPEC)
    expected = (images / 255 - np.array(SPEC.mean).reshape(1, 1, 1, 3)) / np.array(SPEC.std).reshape(1, 1, 1, 3)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.exact
def test_normalize_inside_a_step_has_the_bits_of_numpy(images):
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 4)).astype(np.float32)

    @jax.jit
    def step(image, offset, flip, kernel):
        x = normalize(crop_and_flip(image, offset, flip, SPEC), SPEC)

        def loss(kernel):
            y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return jnp.mean(jnp.square(y + 1))

        return x, jax.grad(loss)(kernel)

    plan = train_plan(6, 6, SPEC, seed=0, stage=0, task=0, epoch=0)
    args = images, plan.offset[0], plan.flip[0]
    middle, scale = (np.float32(v) for v in (255 * np.array(SPEC.mean), 1 / (255 * np.array(SPEC.std))))
    expected = (np.asarray(crop_and_flip(*map(jnp.asarray, args), SPEC), np.float32) - middle) * scale
    np.testing.assert_array_equal(step(*args, kernel)[0], expected)
    np.testing.assert_array_equal(jax.jit(lambda x: normalize(x, SPEC))(images), (np.float32(images) - middle) * scale)


def test_crop_and_flip_is_slicing_of_the_padded_image(images):
    plan = train_plan(6, 6, SPEC, seed=0, stage=0, task=0, epoch=0)
    offset, flip = plan.offset[0], plan.flip[0]
    assert flip.any() and not flip.all()
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = np.stack([p[y : y + 5, x : x + 4] for p, (y, x) in zip(padded, offset, strict=True)])
    expected[flip] = expected[flip][:, :, ::-1]
    done = jax.jit(lambda *args: crop_and_flip(*args, SPEC))(images, offset, flip)
    assert done.dtype == jnp.uint8
    np.testing.assert_array_equal(done, expected)


def test_a_crop_in_the_corner_shows_the_black_border(images):
    done = crop_and_flip(jnp.asarray(images), jnp.zeros((6, 2), jnp.int32), jnp.zeros(6, bool), SPEC)
    assert not done[:, :2].any() and not done[:, :, :2].any()
    np.testing.assert_array_equal(done[:, 2:, 2:], images[:, :3, :2])
