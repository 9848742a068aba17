"""The benchmark reports what it says it does; how fast is no business of a test."""

import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.bench import bench_step


def test_bench_step_reports_rates_and_ratios():
    result = bench_step(batch_size=2, bits=4, repeats=2, steps=1)
    assert set(result.numbers["images_per_second"]) == {"float", "4-bit", "float again"}
    assert result.numbers["time_ratio_to_float"]["float"] == 1.0
    assert all(rate > 0 for rate in result.numbers["images_per_second"].values())
    assert "medians of 2 alternating repeats of 1 steps" in result.text


def test_bench_step_refuses_other_bits():
    with pytest.raises(Refusal, match="stage.weight_bits=9"):
        bench_step(batch_size=2, bits=9, repeats=1, steps=1)
