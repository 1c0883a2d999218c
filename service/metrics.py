"""Prometheus metrics, in their own registry.

Several workers keep their values in files of one folder (the client library's multiprocess mode), so that any of them
can show the whole. The files are numbered by worker, not by process: one that takes another's place counts on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from diffcdr.device.health import FAILURES, Failure

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
BUNDLE_LABELS = ("bundle", "model", "state", "device", "provider", "provider_version", "search_device")
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """What the service counts. Every label has few values: no user, item or request id is ever one."""

    def __init__(self, *, folder: Path | None = None) -> None:
        """``folder``: where all workers keep their values, after :func:`keep_values_in` it."""
        if folder is None:
            # PROMETHEUS_MULTIPROC_DIR may be meant for another program.
            values.ValueClass = values.MutexValue
        self._folder = folder
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "diffcdr_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "diffcdr_request_seconds", "Time from request to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._answers = Counter(
            "diffcdr_recommendations",
            "Lists answered, by strategy and, for popular lists, the reason.",
            ["strategy", "fallback_reason"],
            registry=registry,
        )
        self.batch_rows = Histogram("diffcdr_batch_rows", "Rows computed together.", buckets=ROWS, registry=registry)
        self.engine_seconds = Histogram(
            "diffcdr_engine_seconds", "Time the engine took for a batch.", buckets=SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "diffcdr_queue_seconds", "Time a job waited for the engine.", buckets=SECONDS, registry=registry
        )
        self.engine_rows = Counter("diffcdr_engine_rows", "Rows the engine computed.", registry=registry)
        self.admitted_rows = Counter("diffcdr_admitted_rows", "Rows admitted to the queue.", registry=registry)
        self.shed_rows = Counter("diffcdr_shed_rows", "Rows refused because the queue was full.", registry=registry)
        self.dropped_rows = Counter(
            "diffcdr_dropped_rows",
            "Rows not computed because the caller was gone or the deadline had passed.",
            ["why"],
            registry=registry,
        )
        self.queue_rows = Gauge(
            "diffcdr_queue_rows", "Rows waiting for the engine.", registry=registry, multiprocess_mode="livesum"
        )
        self.workers = Gauge(
            "diffcdr_workers", "Worker processes that answer.", registry=registry, multiprocess_mode="livesum"
        )
        self.longest_hold = Gauge(
            "diffcdr_loop_longest_hold_seconds",
            "Longest that the event loop was held in the last minute or two; nothing is answered meanwhile.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.longest_own_hold = Gauge(
            "diffcdr_loop_longest_own_hold_seconds",
            "Most processor time that the event loop spent within one hold, in the last minute or two.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.state_up = Gauge(
            "diffcdr_state_up", "1 while the state store answers.", registry=registry, multiprocess_mode="livemin"
        )
        self.state_checked = Gauge(
            "diffcdr_state_checked_timestamp_seconds",
            "When the copy of opt-outs was last known to be current; its age is time() minus this.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.device_failures = Counter(
            "diffcdr_device_failures",
            "Batches that the CPU computed because a GPU could not, by reason.",
            ["why"],
            registry=registry,
        )
        self.bundles = Bundles()
        self.loads = Counter(
            "diffcdr_bundle_loads",
            "Attempts to load a bundle while serving, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.background_failures = Counter(
            "diffcdr_background_failures",
            "Failures of background tasks, which were started again.",
            ["work"],
            registry=registry,
        )
        self.events = Counter(
            "diffcdr_events", "Events sent by callers, by outcome and type.", ["outcome", "type"], registry=registry
        )
        self.shadow_overlap = Histogram(
            "diffcdr_shadow_overlap",
            "Share of the first 20 items that the shadow bundle's list has in common with the answer.",
            buckets=SHARES,
            registry=registry,
        )
        self.shadowed = Counter(
            "diffcdr_shadow_requests",
            "Requests drawn for the shadow bundle, by outcome.",
            ["outcome"],
            registry=registry,
        )
        # Shown as 0 from the start: from nothing to 1, Prometheus sees no increase, and the first would not be told of.
        for outcome in ("loaded", "refused"):
            self.loads.labels(outcome)
        for failure in FAILURES:
            self.device_failures.labels(failure)
        for why in ("deadline", "cancelled"):
            self.dropped_rows.labels(why)
        # Looking a child up by its labels costs more than counting; the few there are stay at hand.
        self._request_child = cache(self._requests.labels)
        self._latency_child = cache(self._latency.labels)
        self._answer_child = cache(self._answers.labels)

    def count_device_failure(self, failure: Failure) -> None:
        """Count one batch that a GPU could not compute."""
        self.device_failures.labels(failure).inc()

    def count_request(self, *, route: str, method: str, status: str, seconds: float) -> None:
        """Count one answered request."""
        self._request_child(route, method, status).inc()
        self._latency_child(route).observe(seconds)

    def count_refusal(self, *, route: str, method: str) -> None:
        """Count one refused request. Its duration is not recorded: it would distort that of answered ones."""
        self.shed_rows.inc()
        self._request_child(route, method, "503").inc()

    def count_answer(self, strategy: str, fallback_reason: str | None) -> None:
        """Count one recommended list."""
        self._answer_child(strategy, fallback_reason or "none").inc()

    def render(self) -> bytes:
        """Everything, of all workers, in Prometheus' text format."""
        registry = self.registry
        if self._folder is not None:
            registry = CollectorRegistry()
            registry.register(_Workers(self._folder))
        return generate_latest(registry) + generate_latest(self.bundles)


class _Workers(Collector):
    """What all workers have counted, from the files of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """What the client library asks for."""
        merge: Callable[[list[str]], Iterable[Metric]] = MultiProcessCollector.merge
        # A worker that begins makes its files, and they are empty for a moment.
        yield from merge([str(file) for file in sorted(self._folder.glob("*.db")) if _size(file)])


def _size(file: Path) -> int:
    """Bytes of ``file``; 0 where it is gone, as the gauges of a worker that died are."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


class Bundles(Collector):
    """The bundles in use. Not a stored gauge: value files keep old labels, and all workers have the same bundles."""

    def __init__(self) -> None:
        self._rows: Sequence[tuple[str, ...]] = ()

    def show(self, rows: Sequence[tuple[str, ...]]) -> None:
        """``rows``: the labels of each, as :meth:`collect` names them."""
        self._rows = rows

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the client library asks for."""
        family = GaugeMetricFamily("diffcdr_bundle_info", "1 for each bundle in use.", labels=BUNDLE_LABELS)
        for row in self._rows:
            family.add_metric(row, 1)
        yield family


def keep_values_in(folder: Path, *, worker: int) -> None:
    """Keep the values of all metrics that this process makes from now on in ``folder``, as those of ``worker``."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    make: Callable[[Callable[[], int]], Any] = values.MultiProcessValue
    values.ValueClass = make(lambda: worker)


def forget_worker(folder: Path, *, worker: int) -> None:
    """Remove the gauges of a dead worker from ``folder``; its counters stay."""
    for file in folder.glob(f"gauge_live*_{worker}.db"):
        file.unlink(missing_ok=True)
