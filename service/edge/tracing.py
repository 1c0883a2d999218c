"""OpenTelemetry traces: a span for each request, and below it one for the queue and each stage of the computation.

Needs the extra ``otel``. Where spans go, how many and under which name is OpenTelemetry's own to set
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, …). Nothing in a span tells who asked,
or about whom: no ids, no vectors, no keys.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.middleware import CLIENT_LEFT_STATUS, method_of, route_of
from service.engine.jobs import Timed

CLOSE_SECONDS = 2.0
_propagator = TraceContextTextMapPropagator()


class Traced:
    """The span of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hex digits, for the log."""
        return format_trace_id(self._span.get_span_context().trace_id)

    def note(self, timed: Timed[Any]) -> None:
        """Add the spans of an engine call: ``queue`` until it began, then each stage."""
        computing = time.time_ns() - _nanoseconds(timed.computed)
        self._child("queue", computing - _nanoseconds(timed.queued), computing)
        for name, seconds in timed.stages.items():
            self._child(name, computing, computing + _nanoseconds(seconds))
            computing += _nanoseconds(seconds)

    def end(self, *, method: str, route: str, status: str) -> None:
        """End the span of a request that was answered with ``status``."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": int(status)}
        )
        if status.startswith("5"):
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _child(self, name: str, start: int, end: int) -> None:
        self._tracer.start_span(name, context=set_span_in_context(self._span), start_time=start).end(end)


class Tracing:
    """Begins a span for each request; ``processor`` gets every finished span."""

    def __init__(self, processor: SpanProcessor) -> None:
        names = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "diffcdr"}
        self._provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("diffcdr.service")

    @classmethod
    def to_collector(cls) -> Self:
        """Exports to the collector of ``OTEL_EXPORTER_OTLP_ENDPOINT``, in batches, on a thread of its own."""
        return cls(BatchSpanProcessor(OTLPSpanExporter()))

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """``app`` with its requests traced. Put it around everything else."""

        async def traced_app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = CLIENT_LEFT_STATUS

            async def send_noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            traced = self._begin(scope)
            scope.setdefault("state", {}).update(traced=traced, trace_id=traced.trace_id)
            try:
                await app(scope, receive, send_noting)
            finally:
                traced.end(method=method_of(scope), route=route_of(scope), status=status)

        return traced_app

    def _begin(self, scope: Scope) -> Traced:
        """The span of the request ``scope``, below the caller's where a ``traceparent`` came with it."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        context = _propagator.extract(carrier)
        return Traced(self._tracer, self._tracer.start_span("request", context=context, kind=SpanKind.SERVER))

    def close(self) -> None:
        """Send the remaining spans; blocks for at most ``CLOSE_SECONDS``, then gives up."""
        # A daemon: a collector that does not answer must not keep the process from ending.
        closing = threading.Thread(target=self._provider.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
