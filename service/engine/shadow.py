"""Shadow traffic: the same queries to another bundle, to measure how much its answers differ.

Shadow work has no part in any answer. It waits in the engine's idle lane, so stable work goes first, and is dropped
where that lane is full.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from diffcdr.recommend.recommender import Query, Recommendation
from service.bundles.registry import Lineup, Model
from service.engine.batcher import Batcher
from service.engine.jobs import Answer, Timed
from service.metrics import Metrics

COMPARED = 20
"""How many of the first items are compared; fewer where fewer were asked for."""


class Shadow:
    """Samples answered requests and answers them again. Use it on the batcher's event loop."""

    def __init__(self, batcher: Batcher, metrics: Metrics) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._owed = 0.0

    def observe(self, lineup: Lineup, model: Model, *, query: Query, answer: Recommendation) -> None:
        """Compare ``answer``, which ``model`` gave to ``query``, with the shadow's if the query is sampled.

        The draw takes exactly the share that was asked for, evenly. Nobody who opted out is drawn, nor is what was
        not answered by the stable model.
        """
        if lineup.traffic.shadow is None or model is not lineup.stable or not query.personalise:
            return
        self._owed += lineup.traffic.shadow_percent / 100
        if self._owed < 1:
            return
        self._owed -= 1
        asked = replace(query, k=min(query.k, COMPARED), allow_fallback=True, explain=False)
        future = self._batcher.when_idle(lineup.models[lineup.traffic.shadow].recommender, asked)
        if future is None:
            self._metrics.shadowed.labels("dropped").inc()
        else:
            future.add_done_callback(lambda done: self._compare(answer.item_ids[: asked.k], done))

    def _compare(self, expected: list[str], done: asyncio.Future[Timed[list[Answer]]]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._metrics.shadowed.labels("failed").inc()
            return
        (found,) = done.result().result
        items = found.item_ids if isinstance(found, Recommendation) else []
        longest = max(len(expected), len(items))
        self._metrics.shadowed.labels("compared").inc()
        self._metrics.shadow_overlap.observe(len(set(expected) & set(items)) / longest if longest else 1.0)
