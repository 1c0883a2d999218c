"""Host tuning: work on threads of lower priority, and the allocator of the C library."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STEP_BACK = 10
"""By how much niceness: with a core to share, such a thread gets a tenth of it. It is not starved altogether, as others
wait for it whenever it holds the interpreter's lock."""


async def aside(call: Callable[[], T]) -> T:
    """The result of ``call()`` on a thread of lower priority, which the threads it starts inherit (Linux).

    Nobody waits for the thread when the process ends, or when the task that asked is cancelled: what it waits for may
    never come.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        _step_back()
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody asks any more
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await done


def _step_back() -> None:
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):  # where threads have no priority of their own, this one has none either
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + STEP_BACK)


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
    """Return free memory to the system. Takes milliseconds, without holding the interpreter's lock."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
