"""What glibc's allocator is told at the start."""

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8


def share_one_heap() -> None:
    """Let all threads that are started from now on allocate from one heap.

    By default each gets its own and keeps what it once needed; but one thread of ours does nearly
    all the work. Another C library has no such setting, and needs none.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
