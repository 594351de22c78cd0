"""The allocator: threads of the daemon share two heaps instead of having one each."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAPS = """
import ctypes, re, sys, threading
from monitor.allocator import share_heaps
if sys.argv[1] == "shared":
    assert share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
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
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other allocators")
def test_threads_share_two_heaps() -> None:
    found = {
        form: subprocess.run(
            [sys.executable, "-c", HEAPS, form], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.count("<heap nr=")
        for form in ("shared", "apart")
    }
    assert found["shared"] <= 2 < found["apart"], found
