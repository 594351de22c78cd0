"""The C library's allocator: how many heaps the threads of a process share."""

from __future__ import annotations

import ctypes

ARENA_MAX = -8  # mallopt(3), M_ARENA_MAX
ARENAS = 2


def share_heaps() -> bool:
    """Let all threads of this process share two heaps; returns whether the C library can do that (glibc can).

    By default glibc gives up to eight heaps for each core to threads that allocate at the same time, and each keeps
    what its wildest moment took. A daemon has dozens of threads and allocates little: two heaps are enough for it.
    Call it before threads are started; heaps that exist stay.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(ARENA_MAX, ARENAS))
    except (AttributeError, OSError, TypeError):  # another C library
        return False
