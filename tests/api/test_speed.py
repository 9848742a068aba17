import os
import subprocess
import sys

PROGRAM = """
import ctypes, resource
from lifeq_jax.api.speed import keep_freed_memory
{call}
library, size = ctypes.CDLL(None), 2**26
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = library.malloc(size)
    ctypes.memset(place, 1, size)
    library.free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call, **environment):
    """Page faults of filling 64 MB that were filled and freed before."""
    program = [sys.executable, "-c", PROGRAM.format(call=call)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=os.environ | environment)
    return int(done.stdout)


def test_freed_memory_is_used_again_without_a_fault():
    is_glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
    assert not is_glibc or faults("keep_freed_memory()") < 10 < faults("")


def test_the_library_s_own_variable_wins():
    assert faults("keep_freed_memory()", MALLOC_TRIM_THRESHOLD_="131072") > 10
