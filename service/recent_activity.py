"""The last 15 minutes of this service's metrics, so that the console has history to show when it is opened.

Each worker keeps its own ring; every sample is of all workers, since :meth:`Metrics.render` is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from service.metrics import SECONDS, Metrics
from service.schemas.console import Sample

INTERVAL_SECONDS = 5.0
KEPT_SECONDS = 900.0

ASKED_ROUTES = frozenset(
    {
        "/v1/recommendations",
        "/v1/users/{user_id}/recommendations",
        "/v1/recommendations/batch",
        "/v1/embeddings",
        "/v1/events",
        "/v1/items/popular",
    }
)
"""What callers come for. The rest is people looking, and probes."""


class Activity:
    """A ring of samples, one every ``INTERVAL_SECONDS`` while :meth:`watch` runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._ring: deque[Sample] = deque(maxlen=round(KEPT_SECONDS / INTERVAL_SECONDS))

    async def watch(self) -> None:
        """Run for ever: take samples."""
        while True:
            self._ring.append(await asyncio.to_thread(self._now))
            await asyncio.sleep(INTERVAL_SECONDS)

    async def samples(self, *, since: float) -> list[Sample]:
        """The samples after ``since`` (seconds since 1970), oldest first, and one taken now."""
        return [*(sample for sample in self._ring if sample.at > since), await asyncio.to_thread(self._now)]

    def _now(self) -> Sample:
        return read_sample(self._metrics.render().decode(), at=time.time())


class _Value(NamedTuple):
    labels: dict[str, str]
    value: float


def read_sample(text: str, *, at: float) -> Sample:
    """The totals in ``text``, the content of /metrics."""
    found: dict[str, list[_Value]] = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            found.setdefault(name, []).append(_Value(labels, value))

    def total(name: str) -> int:
        return round(sum(entry.value for entry in found.get(name, ())))

    asked = [entry for entry in found.get("diffcdr_requests_total", ()) if entry.labels["route"] in ASKED_ROUTES]
    answers = found.get("diffcdr_recommendations_total", ())
    return Sample(
        at=at,
        requests=round(sum(entry.value for entry in asked)),
        statuses=_by((f"{entry.labels['status'][0]}xx", entry.value) for entry in asked),
        latency=_latency(found.get("diffcdr_request_seconds_bucket", ())),
        batches=total("diffcdr_batch_rows_count"),
        batch_rows=total("diffcdr_batch_rows_sum"),
        queue_rows=total("diffcdr_queue_rows"),
        shed_rows=total("diffcdr_shed_rows_total"),
        dropped_rows=total("diffcdr_dropped_rows_total"),
        strategies=_by((entry.labels["strategy"], entry.value) for entry in answers),
        fallback_reasons=_by(
            (reason, entry.value) for entry in answers if (reason := entry.labels["fallback_reason"]) != "none"
        ),
        state_up=all(entry.value for entry in found.get("diffcdr_state_up", ())),
        workers=total("diffcdr_workers"),
    )


def _by(pairs: Iterable[tuple[str, float]]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for name, value in pairs:
        totals[name] += round(value)
    return dict(sorted(totals.items()))


def _latency(buckets: Iterable[_Value]) -> list[int]:
    counts = [0] * (len(SECONDS) + 1)
    for labels, value in buckets:
        if labels["route"] in ASKED_ROUTES:
            bound = float(labels["le"])
            counts[SECONDS.index(bound) if bound in SECONDS else len(SECONDS)] += round(value)
    return counts
