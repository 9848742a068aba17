import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data import order
from lifeq_jax.data.order import ImageSpec, train_plan

SPEC = ImageSpec(stored=(8, 10, 3), pad=2, crop=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3, flip=True)
PLACE = {"seed": 1, "stage": 0, "task": 2, "epoch": 3}


def test_a_training_pass_is_a_permutation_without_the_last_partial_batch():
    plan = train_plan(23, 5, SPEC, **PLACE)
    assert plan.row.shape == (4, 5) and len(set(plan.row.ravel())) == 20 and plan.row.max() < 23
    assert plan.offset.shape == (4, 5, 2) and plan.flip.shape == plan.weight.shape == (4, 5)
    assert (plan.weight == 1).all()
    assert (plan.row.dtype, plan.offset.dtype) == (np.int32, np.int32)
    assert (plan.flip.dtype, plan.weight.dtype) == (np.bool_, np.float32)


def test_crops_reach_every_corner_and_half_are_mirrored():
    plan = train_plan(4000, 40, SPEC, **PLACE)
    assert set(plan.offset[..., 0].ravel()) == set(range(5)) and set(plan.offset[..., 1].ravel()) == set(range(7))
    assert 0.45 < plan.flip.mean() < 0.55
    assert not train_plan(4000, 40, SPEC._replace(flip=False), **PLACE).flip.any()


def test_a_plan_depends_on_its_numbers_alone():
    plan = train_plan(40, 5, SPEC, **PLACE)
    assert all(np.array_equal(a, b) for a, b in zip(plan, train_plan(40, 5, SPEC, **PLACE), strict=True))
    for name in PLACE:
        other = train_plan(40, 5, SPEC, **{**PLACE, name: 7})
        assert (other.row != plan.row).any() and (other.offset != plan.offset).any()


def test_boxes_are_drawn_after_all_else():
    square = SPEC._replace(stored=(12, 12, 3), pad=0)
    plain, boxed = (train_plan(23, 5, square._replace(resize=resize), **PLACE) for resize in order.RESIZES)
    for name in ("row", "offset", "flip", "weight"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(boxed, name))
    assert plain.draw.shape == (4, 5, 0, 2) and boxed.draw.shape == (4, 5, order.TRIES + 1, 2)
    assert order.test_plan(7, 3, square._replace(resize=order.RESIZES[1])).draw.shape == (3, 3, 0, 2)
    assert len(np.unique(boxed.draw)) > 0.99 * boxed.draw.size


def test_the_numbers_of_a_training_pass_stay_what_they_were():
    plan = train_plan(23, 5, SPEC, **PLACE)
    np.testing.assert_array_equal(plan.row[0], [3, 15, 0, 2, 16])
    np.testing.assert_array_equal(plan.offset[0], [[1, 6], [4, 6], [2, 5], [4, 0], [4, 2]])
    np.testing.assert_array_equal(plan.flip[0], [True, True, True, False, True])


def test_a_test_pass_is_in_order_and_padded():
    plan = order.test_plan(7, 3, SPEC)
    np.testing.assert_array_equal(plan.row, [[0, 1, 2], [3, 4, 5], [6, 0, 0]])
    np.testing.assert_array_equal(plan.weight, [[1, 1, 1], [1, 1, 1], [1, 0, 0]])
    assert (plan.offset == [2, 3]).all() and not plan.flip.any()
    assert plan.weight.dtype == np.float32 and plan.row.dtype == plan.offset.dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": (13, 8)}, r"crop \(13, 8\) does not fit images of 8x10 with pad 2"),
        ({"crop": (0, 8)}, r"crop \(0, 8\) does not fit"),
        ({"pad": -1}, r"with pad -1"),
        ({"stored": (8, 10, 4)}, r"4 image channels; choose from 1, 3"),
        ({"mean": (0.5,)}, r"mean \(0\.5,\) and std .* need 3 values each, std above 0"),
        ({"std": (0.2, 0.2, 0.0)}, r"std above 0"),
        ({"resize": "zoom"}, r"resize='zoom' is unknown; choose from '', 'random_resized_crop'"),
        ({"resize": "random_resized_crop"}, r"needs square images and pad 0, not 8x10 and pad 2"),
        ({"resize": "random_resized_crop", "stored": (9, 9, 3)}, r"needs square images and pad 0, not 9x9 and pad 2"),
        ({"resize": "random_resized_crop", "stored": (7, 7, 3), "pad": 0}, r"crop \(8, 8\) does not fit"),
    ],
)
def test_refuses_a_spec_that_does_not_fit_together(change, message):
    with pytest.raises(Refusal, match=message):
        order.test_plan(7, 3, SPEC._replace(**change))


def test_refuses_too_few_rows_and_empty_batches():
    with pytest.raises(Refusal, match="batch_size=8 is larger than the 7 training rows of task 2"):
        train_plan(7, 8, SPEC, **PLACE)
    with pytest.raises(Refusal, match="batch_size=0 is out of range"):
        order.test_plan(7, 0, SPEC)
