"""What glibc's allocator is told at the start (mallopt(3)). Another C library needs none of it."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT = 8 << 20
"""So many free bytes at the top of the heap stay with the process. By default they are given back
after every commit group, and each page is taken from the kernel again for the next one."""
BIG = 2 << 20
"""From so many bytes on an array is mapped by itself, and given back as soon as it is freed."""


def prepare_heap() -> None:
    """Let all threads that are started from now on allocate from one heap, which keeps some room.

    By default each thread gets a heap and keeps what it once needed; but one thread of ours does
    nearly all the work.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, BIG)
