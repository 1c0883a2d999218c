"""Background tasks that run as long as the service does and are restarted when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.metrics import Metrics

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""How long after a failure work begins again."""


def keep(name: str, work: Callable[[], Awaitable[None]], metrics: Metrics) -> asyncio.Task[None]:
    """A task that runs ``work()`` and restarts it when it fails. Failures are logged and counted under ``name``."""
    failures = metrics.background_failures.labels(name)

    async def kept() -> None:
        while True:
            try:
                await work()
                return
            except Exception:
                failures.inc()
                logger.exception("%s failed; it restarts in %g s", name, PAUSE_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)

    return asyncio.create_task(kept(), name=name)
