"""Traces as a collector gets them, over OTLP, from the real service; and nothing at all where none are wanted."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import web
from tests.servers import running_server
from tests.serving import serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # pragma: allowlist secret
SECRET = "a-key-nobody-may-see"  # pragma: allowlist secret


class Collector:
    """What an OTLP collector was sent."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.address = ""

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        assert {path for path, _ in self.received} <= {"/v1/traces"}
        return [ExportTraceServiceRequest.FromString(body) for _, body in self.received]

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found.received.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        found.address = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


@contextmanager
def traced(monkeypatch: pytest.MonkeyPatch, bundle: Path, address: str, keys: str = "") -> Iterator[httpx.Client]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    with serving(bundle, api_keys=keys) as client:
        yield client


def test_a_request_is_a_span_below_its_caller_s_with_its_stages_below_it(
    collector: Collector, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-api-key": SECRET, "x-request-id": "asked-by-u00042"}
    keys = f"read:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    started = time.time_ns()
    with traced(monkeypatch, bundle_path, collector.address, keys) as client:
        body = {"user_id": "u00042", "history": [{"item_id": "s00003", "rating": 4.25}]}
        client.post("/v1/recommendations", json=body, headers=headers).raise_for_status()
        ended = time.time_ns()
    # Stopping sends what is left.
    spans = {span.name: span for span in collector.spans}
    assert spans.keys() == {"POST /v1/recommendations", "queue", "transfer", "topk"}
    request = spans.pop("POST /v1/recommendations")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert {attribute.key for attribute in request.attributes} == {
        "http.request.method",
        "http.route",
        "http.response.status_code",
    }
    for span in spans.values():
        assert (span.trace_id, span.parent_span_id) == (request.trace_id, request.span_id)
        assert started <= request.start_time_unix_nano <= span.end_time_unix_nano <= request.end_time_unix_nano <= ended
    assert spans["queue"].end_time_unix_nano <= spans["transfer"].start_time_unix_nano
    assert spans["transfer"].end_time_unix_nano <= spans["topk"].start_time_unix_nano
    (resource,) = {str(part.resource) for sent in collector.requests for part in sent.resource_spans}
    assert '"diffcdr"' in resource
    for secret in ("u00042", SECRET, "s00003", "4.25", "asked-by"):
        assert secret not in str(collector.requests)


def test_ids_in_addresses_are_in_no_span_and_failures_are_marked(
    collector: Collector, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(monkeypatch, bundle_path, collector.address) as client:
        client.get("/v1/users/u00042/recommendations?exclude_items=t00001").raise_for_status()
        client.post("/v1/embeddings", json={"user_ids": ["u00042"]}).raise_for_status()
        assert client.get("/v1/models/u00042").status_code == 404
    spans = collector.spans
    tops = {span.name for span in spans if not span.parent_span_id}
    assert tops == {"GET /v1/users/{user_id}/recommendations", "POST /v1/embeddings", "GET /v1/models/{model_id}"}
    assert "u00042" not in str(collector.requests) and "t00001" not in str(collector.requests)


def test_a_request_that_is_not_sampled_leaves_no_span(
    collector: Collector, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(monkeypatch, bundle_path, collector.address) as client:
        client.get("/livez", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}).raise_for_status()
    assert collector.spans == []


def test_a_collector_that_is_away_costs_no_request_and_no_stop(
    bundle_path: Path, tmp_path: Path, free_port: int
) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port}"}
    with running_server(bundle_path, log=tmp_path / "log", **settings) as server:
        assert web.post(f"{server.address}/v1/recommendations", json={"user_id": "u00042"}).status_code == 200
        assert server.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


# What the tools do that watch a program from outside: providers for the whole process, before it has begun.
PROVIDERS = """
from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

traces, logs = TracerProvider(), LoggerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
trace.set_tracer_provider(traces)
_logs.set_logger_provider(logs)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
"""


@pytest.mark.parametrize("asked_by", ["environment", "providers"])
def test_the_frameworks_own_telemetry_stays_off_whoever_asks_for_it(
    collector: Collector, bundle_path: Path, tmp_path: Path, asked_by: str
) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    if asked_by == "environment":
        settings["FASTAPI_OTEL_AUTO_CONFIGURE"] = "true"
    else:
        (tmp_path / "sitecustomize.py").write_text(PROVIDERS)
        settings["PYTHONPATH"] = str(tmp_path)
    with running_server(bundle_path, log=tmp_path / "log", **settings) as server:
        with web.client(base_url=server.address) as client:
            for address, status in (
                ("/v1/users/u00042/recommendations", 200),
                ("/v1/users/u00042/recommendations?k=0&exclude_items=t00001", 422),
                ("/v1/users?prefix=u00042", 200),
                ("/v1/u00042", 404),
            ):
                assert client.get(address).status_code == status, address
            client.post("/v1/recommendations", json={"user_id": "u00042"}).raise_for_status()
            client.post("/v1/embeddings", json={"user_ids": ["u00042"]}).raise_for_status()
            assert client.post("/v1/embeddings", json={"user_ids": {"u00042": 1}}).status_code == 422
        assert server.stop() == 0
    assert any(b"POST /v1/embeddings" in body for path, body in collector.received if path == "/v1/traces")
    for path, body in collector.received:
        for told in (b"u00042", b"t00001", b"fastapi", b"url.path"):
            assert told not in body, path


@pytest.mark.parametrize(("tracing", "status"), [("true", 5), ("false", 0)])
def test_without_the_extra_it_is_one_sentence_where_wanted_and_nothing_elsewhere(
    bundle_path: Path, tracing: str, status: int
) -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from diffcdr.errors import MissingExtraError\n"
        "from service.app import create_app\n"
        "from service.settings import Settings\n"
        f"settings = Settings.read(bundle={str(bundle_path)!r}, tracing={tracing == 'true'})\n"
        "try: create_app(settings)\n"
        "except MissingExtraError as error: print(error); sys.exit(error.exit_code)\n"
        "assert 'service.edge.tracing' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert ("pip install 'diffcdr[otel]'" in done.stdout) is (status == 5)
