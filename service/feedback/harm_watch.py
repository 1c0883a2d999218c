"""Ends a traffic split once the canary is worse beyond doubt."""

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
"""How often it is looked. Every look is covered by the error rate of all together."""


class HarmWatch:
    """Looks at the comparison that runs in ``registry``, by the counts of ``store``."""

    def __init__(
        self, registry: Registry, store: Store, change: Callable[[Callable[[Registry], bool]], Awaitable[bool]]
    ) -> None:
        """``change`` applies a function to the registry, here and in every other worker."""
        self._registry = registry
        self._store = store
        self._change = change

    async def watch(self) -> None:
        """For ever: look every ``LOOK_SECONDS``; while the state does not answer, everything stays as it is."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StateUnavailable as error:
                logger.warning("the canary cannot be watched for harm, it stays: %s", error)

    async def look(self) -> bool:
        """Whether the split was ended now. Raises StateUnavailable."""
        found = experiments(await self._store.trials(), self._registry.lineup)
        harmful = next((one for one in found if one.running and one.harm), None)
        if harmful is None or not await self._change(partial(_end, harmful.id)):
            return False
        logger.error("the canary %s is stopped: %s", harmful.canary.trial.bundle, _why(harmful))
        return True


def _end(experiment: str, registry: Registry) -> bool:
    """Send all users to stable, if it is still ``experiment`` that runs."""
    lineup = registry.lineup
    if experiment_of(lineup).hex() != experiment:
        return False
    registry.split(replace(lineup.traffic, canary=None, percent=0.0, salt=""))
    return True


def _why(experiment: Experiment) -> str:
    worse = (one for one in experiment.comparisons if one.verdict == "canary_worse")
    return "; ".join(f"{one.metric} at most {one.interval.high:.2f} times those of stable" for one in worse)
