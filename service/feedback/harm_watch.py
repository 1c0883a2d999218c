"""Ends a traffic split when the verdict is that the canary is worse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from service.bundles.registry import Registry
from service.feedback.arms import experiment_of
from service.feedback.experiments import Experiment, experiments
from service.state.store import StateUnavailable, Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Seconds between looks. The error rate holds over all looks together."""


class HarmWatch:
    """Watches the experiment that runs in ``registry``, using the counts in ``store``."""

    def __init__(
        self, registry: Registry, store: Store, change: Callable[[Callable[[Registry], bool]], Awaitable[bool]]
    ) -> None:
        """``change`` applies a function to the registry, here and in every other worker."""
        self._registry = registry
        self._store = store
        self._change = change

    async def watch(self) -> None:
        """Run forever: look every ``LOOK_SECONDS``. While the state does not answer, nothing changes."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StateUnavailable as error:
                logger.warning("the canary cannot be checked for harm and stays: %s", error)

    async def look(self) -> bool:
        """Look once; True if this ended the split. Raises StateUnavailable."""
        found = experiments(await self._store.trials(), self._registry.lineup)
        harmful = next((one for one in found if one.running and one.harm), None)
        if harmful is None or not await self._change(partial(_end, harmful.id)):
            return False
        logger.error("the canary %s is stopped: %s", harmful.canary.trial.bundle, _why(harmful))
        return True


def _end(experiment: str, registry: Registry) -> bool:
    """Send all users to stable, if ``experiment`` is still the one that runs."""
    lineup = registry.lineup
    if experiment_of(lineup).hex() != experiment:
        return False
    registry.split(replace(lineup.traffic, canary=None, percent=0.0, salt=""))
    return True


def _why(experiment: Experiment) -> str:
    worse = (one for one in experiment.comparisons if one.verdict == "canary_worse")
    return "; ".join(f"{one.metric} at most {one.interval.high:.2f} times that of stable" for one in worse)
