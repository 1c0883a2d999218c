"""Work beside the answering of requests, on a thread that lets it go first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

STEP_BACK = 10
"""By how much niceness: with a core to share, such a thread gets a tenth of it. It is not starved altogether, as others
wait for it whenever it holds the interpreter's lock."""


async def aside(call: Callable[[], T]) -> T:
    """The result of ``call()``, from a thread of lower priority; threads it starts have that too (Linux)."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside", initializer=_step_back)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, call)
    finally:
        pool.shutdown(wait=False)


def _step_back() -> None:
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):  # where threads have no priority of their own, this one has none either
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + STEP_BACK)
