import numpy as np
import pytest
from sklearn.utils import shuffle

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.sampling import as_fraction, sample_rows, shuffled, stratified

CASES = [(20, 0.2, 123), (5, 0.5, 123), (7, 0.5, 123), (330, 0.2, 123), (100, 0.33, 7), (9, 1.0, 3)]


@pytest.mark.parametrize(("value", "fraction"), [(0.25, 0.25), (25, 0.25), (1, 1.0), (100, 1.0), (1.5, 0.015)])
def test_fractions_and_per_cent(value, fraction):
    assert as_fraction(value, "rate") == fraction


@pytest.mark.parametrize("value", [0, -0.2, 101, float("nan")])
def test_refuses_other_fractions(value):
    with pytest.raises(Refusal, match=r"^rate=.* is out of range; choose from \(0, 1\], or up to 100 for per cent$"):
        as_fraction(value, "rate")


def test_cases_are_all_that_the_golden_file_holds(golden):
    assert {f"n{n}_r{r:g}_s{s}/rows" for n, r, s in CASES} == set(golden("lq_replay_sample"))


@pytest.mark.parametrize(("num", "fraction", "seed"), CASES)
def test_replay_rows_of_the_original(golden, num, fraction, seed):
    expected = golden("lq_replay_sample")[f"n{num}_r{fraction:g}_s{seed}/rows"]
    np.testing.assert_array_equal(sample_rows(num, fraction, seed), expected)


def test_stratified_takes_the_share_of_every_class():
    label = np.repeat([0, 1, 2], [20, 10, 2])
    mask = stratified(label, 0.2, seed=0)
    assert [int(mask[label == name].sum()) for name in range(3)] == [4, 2, 1]
    np.testing.assert_array_equal(mask, stratified(label, 0.2, seed=0))
    assert (mask != stratified(label, 0.2, seed=1)).any()


def test_stratified_refuses_what_it_cannot_split():
    with pytest.raises(Refusal, match=r"test_fraction=1 is out of range; choose from \(0, 1\)"):
        stratified(np.zeros(4, np.int32), 1, 0)
    with pytest.raises(Refusal, match="class 7 has a single image"):
        stratified(np.array([3, 3, 7]), 0.5, 0)


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_shuffled_is_what_the_originals_call(seed):
    order = shuffled(17, seed)
    np.testing.assert_array_equal(order, shuffle(np.arange(17), random_state=seed))
    np.testing.assert_array_equal(order, np.random.RandomState(seed).permutation(17))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_shuffled_refuses_seeds_that_the_generator_lacks(seed):
    with pytest.raises(Refusal, match=rf"^seed={seed} is out of range; choose from 0 to 4294967295$"):
        shuffled(3, seed)
