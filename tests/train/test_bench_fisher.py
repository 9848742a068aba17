"""The benchmark of the Fisher information reports what it says it does; how fast is no business of a test."""

import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train import bench_fisher as module
from lifeq_jax.train.bench_fisher import bench_fisher


def test_bench_fisher_reports_rates_and_ratios(monkeypatch):
    monkeypatch.setattr(module, "NETWORKS", {"tiny": (Part("mlp", {"hidden": 4}), 3)})
    result = bench_fisher(["tiny"], batch_size=2, repeats=2, steps=1)
    numbers = result.numbers["tiny"]
    assert set(numbers["images_per_second"]) == {"training step", "Fisher", "training step again"}
    assert all(rate > 0 for rate in numbers["images_per_second"].values())
    assert numbers["time_ratio_to_training_step"]["training step"] == 1.0
    assert (numbers["batch_size"], numbers["repeats"]) == (2, 2)
    assert "tiny, {'hidden': 4}, 3x3, 32 bits, batch 2, medians of 2 alternating repeats of 1 steps" in result.text


def test_bench_fisher_refuses_other_networks():
    with pytest.raises(Refusal, match="model='vgg' is unknown; choose from alexnet_32, resnet18_84"):
        bench_fisher(["vgg"], batch_size=2, repeats=1, steps=1)
