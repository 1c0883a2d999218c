"""Keeping memory flat: glibc's allocator holds on to what is freed, in an arena for nearly each thread that ever asked.

Where the C library is another one, there is nothing to do and nothing is done.
"""

from __future__ import annotations

import ctypes
import os

ARENAS = 2
"""One for the event loop, one for the engine; threads that do little share these."""
_M_ARENA_MAX = -8
"""Of malloc.h."""


def share_arenas() -> bool:
    """Have all threads share ``ARENAS`` arenas, unless ``MALLOC_ARENA_MAX`` says how many; whether that was done.

    Call it before threads are started: it takes none away.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "MALLOC_ARENA_MAX" in os.environ:
        return False
    return bool(mallopt(_M_ARENA_MAX, ARENAS))


def give_back() -> None:
    """Give memory that is free to the system. Takes milliseconds; the interpreter's lock is not held meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
