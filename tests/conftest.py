"""Strict JAX for every test: set before JAX is imported anywhere."""

import ctypes
import gc
import os
import pathlib

CACHE = pathlib.Path(__file__).parent.parent / ".cache" / "jax"
os.environ["JAX_PLATFORMS"] = "cpu"
FLAGS = {"xla_force_host_platform_device_count": 4}
# The suite compiles thousands of small programs and runs each a few times: what counts is the time to compile, which
# these flags cut to less than half (two thirds less for a whole network). `make test` runs what is promised to the last
# bit once more without them, as users run it.
if os.environ.get("LIFEQ_TEST_XLA") != "default":
    FLAGS |= {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": "false",
        "xla_cpu_parallel_codegen_split_count": 1,
        "xla_cpu_multi_thread_eigen": "false",  # the workers share the cores
    }
# What the caller asks for comes last and so wins, as in XLA_FLAGS=--xla_cpu_max_isa=AVX2 pytest.
DEFAULTS = " ".join(f"--{name}={value}" for name, value in FLAGS.items())
os.environ["XLA_FLAGS"] = f"{DEFAULTS} {os.environ.get('XLA_FLAGS', '')}"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["MPLBACKEND"] = "agg"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Tracing makes much that lives long and little garbage: at the usual threshold a tenth of the time goes to collecting
gc.set_threshold(100_000, 20, 100)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from tests import vectors  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_nans", True)

# The same examples every time and on every machine; `make fuzz` takes new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")

GOLDEN = vectors.DEFAULT


def pytest_addoption(parser):
    parser.addoption("--golden", type=pathlib.Path, default=GOLDEN, help="the folder of golden vectors")


def pytest_configure(config):
    vectors.ROOT = config.getoption("--golden").resolve()


MANY = 1500  # programs, a megabyte each
compiled = []


def count_programs(event, seconds, **where):
    if event.endswith("backend_compile_duration"):
        compiled.append(None)


jax.monitoring.register_event_duration_secs_listener(count_programs)


@pytest.fixture(autouse=True, scope="module")
def memory():
    """Frees the programs of the modules before, once there are many: a worker would hold all that it ever compiled."""
    yield
    if len(compiled) > MANY:
        compiled.clear()
        jax.clear_caches()
        gc.collect()
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)  # glibc keeps what is freed otherwise


@pytest.fixture(scope="session")
def golden():
    """golden(name) -> the arrays of NAME.npz in the folder of golden vectors, by their key."""
    return vectors.arrays
