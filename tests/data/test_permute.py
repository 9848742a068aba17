import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.permute import permutations
from lifeq_jax.data.sampling import shuffled
from tests import vectors


def test_permutations_of_the_original(golden):
    arrays = golden("blip_task_sequences")
    ours = permutations(10, 784, seed=0)
    assert ours.dtype == np.int32 and ours.shape == (10, 784)
    np.testing.assert_array_equal(ours, arrays["pmnist_perms"])
    np.testing.assert_array_equal(shuffled(10, 0), arrays["pmnist_order"])


def test_a_permuted_image_of_the_original(golden):
    arrays = golden("blip_task_sequences")
    permuted = arrays["mnist_norm"].reshape(2, 784)[:, permutations(10, 784, seed=0)[1]]
    np.testing.assert_array_equal(permuted.reshape(2, 1, 28, 28), arrays["pmnist_norm_task1"])


@pytest.mark.parametrize("seed", range(5))
def test_seeds_of_all_orders_of_the_original(seed):
    order = vectors.document("blip_task_sequences")["all_orders"][str(seed)]["pmnist"]
    expected = [np.random.RandomState(100 * r + task).permutation(9) for task, r in enumerate(order)]
    np.testing.assert_array_equal(permutations(10, 9, seed), expected)


def test_each_row_is_a_permutation_and_no_two_are_one():
    rows = permutations(6, 64, seed=3)
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(64), (6, 1)))
    assert len({row.tobytes() for row in rows}) == 6
    assert (rows[0] != np.arange(64)).any() and (rows != permutations(6, 64, seed=4)).any()
    with pytest.raises(Refusal, match="seed=-1 is out of range"):
        permutations(2, 4, seed=-1)
