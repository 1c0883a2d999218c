"""Per-stage timings of a request: the ``Server-Timing`` header, and spans where tracing is on."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request

from diffcdr.errors import MissingExtraError
from service.engine.jobs import Timed
from service.settings import Settings

if TYPE_CHECKING:
    from service.edge.tracing import Tracing

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def open_tracing(settings: Settings) -> Tracing | None:
    """Tracing, if the settings ask for it or, where they leave it open, OpenTelemetry's own variables do.

    Raises:
        MissingExtraError: it is wanted, and the extra ``otel`` is not installed.
    """
    wanted = settings.tracing
    if wanted is None:
        wanted = any(os.environ.get(name) for name in ENDPOINT_VARIABLES)
    if not wanted:
        return None
    try:
        # Loaded here alone: without tracing none of it is imported.
        module = importlib.import_module("service.edge.tracing")
    except ModuleNotFoundError as error:
        raise MissingExtraError("tracing", extra="otel") from error
    return cast("Tracing", module.Tracing.to_collector())


def timing_headers(request: Request, timed: Timed[Any]) -> dict[str, str]:
    """``Server-Timing`` for ``timed``, in milliseconds; where the request is traced, its spans are noted too."""
    if (traced := request.scope["state"].get("traced")) is not None:
        traced.note(timed)
    spans = {"queue": timed.queued, "engine": timed.computed, **timed.stages}
    return {"Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in spans.items())}
