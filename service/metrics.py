"""Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """What the service counts. Every label has few values: no user, item or request id is ever one."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "diffcdr_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "diffcdr_request_seconds", "Time from request to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self._answers = Counter(
            "diffcdr_recommendations",
            "Lists answered, by the strategy that spoke and why it fell back.",
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
            "diffcdr_dropped_rows", "Rows not computed because nobody waited any more.", ["why"], registry=registry
        )
        self.queue_rows = Gauge("diffcdr_queue_rows", "Rows waiting for the engine.", registry=registry)
        self.bundle = Gauge(
            "diffcdr_bundle_info",
            "1 for each bundle in use.",
            ["bundle", "model", "state", "device"],
            registry=registry,
        )
        self.loads = Counter(
            "diffcdr_bundle_loads", "Bundles loaded beside, by outcome.", ["outcome"], registry=registry
        )
        self.events = Counter(
            "diffcdr_events", "Ratings sent by callers, by what became of them.", ["outcome"], registry=registry
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
        # Looking a child up by its labels costs more than counting; the few there are stay at hand.
        self._request_child = cache(self._requests.labels)
        self._latency_child = cache(self._latency.labels)
        self._answer_child = cache(self._answers.labels)

    def count_request(self, *, route: str, method: str, status: str, seconds: float) -> None:
        """Count one answered request."""
        self._request_child(route, method, status).inc()
        self._latency_child(route).observe(seconds)

    def count_answer(self, strategy: str, fallback_reason: str | None) -> None:
        """Count one recommended list."""
        self._answer_child(strategy, fallback_reason or "none").inc()

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
