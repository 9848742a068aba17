"""Strict JAX for every test: set before JAX is imported anywhere."""

import gc
import os
import pathlib

CACHE = pathlib.Path(__file__).parent.parent / ".cache" / "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
# The suite compiles thousands of small programs and runs each a few times: what counts is the time to compile, which
# these flags cut to less than half (two thirds less for a whole network).
FLAGS = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_multi_thread_eigen": "false",  # the workers share the cores
    "xla_force_host_platform_device_count": 4,
}
os.environ["XLA_FLAGS"] = " ".join(f"--{name}={value}" for name, value in FLAGS.items())
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["MPLBACKEND"] = "agg"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Tracing makes much that lives long and little garbage: at the usual threshold a tenth of the time goes to collecting
gc.set_threshold(100_000, 20, 100)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_nans", True)

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """golden(name) -> the arrays of tests/golden/<name>.npz by their key."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")
