"""The allocator: threads of the daemon share two heaps instead of having one each."""

from __future__ import annotations

import ctypes
import subprocess
import sys

HEAPS = """
import ctypes, sys, threading
from monitor.allocator import share_heaps
libc = ctypes.CDLL(None)
if sys.argv[1] == "shared":
    assert share_heaps() == hasattr(libc, "mallopt")
if not hasattr(libc, "malloc_info"):
    sys.exit()
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
everybody = threading.Barrier(8)
def take():
    everybody.wait()
    for _ in range(1000):
        libc.malloc(ctypes.c_size_t(2000))
threads = [threading.Thread(target=take) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


def heaps(form: str) -> int:
    """Return how many heaps eight threads of a new process used; 0 where the C library does not say."""
    done = subprocess.run([sys.executable, "-c", HEAPS, form], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.count("<heap nr=")


def test_threads_share_two_heaps_where_the_c_library_would_give_each_its_own() -> None:
    assert heaps("shared") <= 2
    assert heaps("apart") > 2 or not hasattr(ctypes.CDLL(None), "malloc_info")
