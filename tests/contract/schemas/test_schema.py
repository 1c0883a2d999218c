"""The OpenAPI document against the service: what it allows is taken, what it forbids refused, nothing else happens."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from diffcdr.event_weights import TYPE_PATTERN
from service.app import create_app
from service.feedback.recommendation_ids import ID_CHARACTERS
from service.schemas.people import MAX_TIME
from service.settings import Settings
from tests.serving import serving

NDJSON = "application/x-ndjson"
PATIENT_MS = 60_000
"""The longest that may be asked for: a busy machine may be late, and 504 is then right, but not what is asked here."""

schemathesis.serializer(NDJSON)(lambda ctx, value: json.dumps(value).encode())
# The document describes one line; an answer without lines has none to get wrong.
NO_LINE = b'{"index": 0, "user_id": null}'
schemathesis.deserializer(NDJSON)(lambda ctx, response: json.loads(response.content.partition(b"\n")[0] or NO_LINE))


# Making the application needs no bundle; starting it does.
schema = schemathesis.openapi.from_dict(create_app(Settings.read(bundle="none")).openapi())


@pytest.fixture(scope="module")
def client(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a state of its own: these tests opt users out, and erase them."""
    state = tmp_path_factory.mktemp("state") / "state.sqlite"
    with serving(bundle_path, state_url=f"sqlite:{state}", timeout_ms=PATIENT_MS) as client:
        yield client


def _make_takeable(events: Any) -> None:
    """In what keeps to the document, leave out what it cannot know: ids that were given out, types, and the time."""
    for event in events if isinstance(events, list) else ():
        if not isinstance(event, dict):
            continue
        if re.fullmatch(f"[A-Za-z0-9_-]{{{ID_CHARACTERS}}}", str(event.get("recommendation_id"))):
            del event["recommendation_id"]
        if re.fullmatch(TYPE_PATTERN, str(event.get("type"))) and event["type"] != "rating":
            event["type"] = "click"
        if _number(event.get("timestamp")) and 0 <= event["timestamp"] <= MAX_TIME:
            event["timestamp"] = int(min(event["timestamp"], 1e9))


def keeps_to_the_document(client: httpx.Client, case: Any) -> None:
    excluded: list[Any] = []
    if case.path in ("/v1/embeddings", "/v1/admin/models/load"):
        # How many numbers a vector has, and which bundles there are, the document cannot know.
        excluded.append(positive_data_acceptance)
    if case.path == "/v1/recommendations/batch":
        # A bad entry gets an error line rather than a status.
        excluded.append(negative_data_rejection)
    if any(isinstance(values, dict) and {"filter", "caps"} & values.keys() for values in (case.body, case.query)):
        # Nor which attributes its items have.
        excluded.append(positive_data_acceptance)
    for values in (case.body, case.query):
        if isinstance(values, dict) and _number(values.get("timeout_ms")) and 1 <= values["timeout_ms"] < PATIENT_MS:
            values["timeout_ms"] = PATIENT_MS
    if case.path == "/v1/events" and isinstance(case.body, dict):
        _make_takeable(case.body.get("events"))
    if re.fullmatch("[!-~]{1,255}", str((case.headers or {}).get("Idempotency-Key", ""))):
        # Other cases may have used it for something else, which is then refused.
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    assert len(CHECKS.get_all()) > 5
    case.call_and_validate(
        base_url=str(client.base_url), checks=CHECKS.get_all(), excluded_checks=excluded, timeout=PATIENT_MS / 1000
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def schema_test(operation: Any) -> Any:
    """The test of one operation."""

    @schema.include(method=operation.method.upper(), path=operation.path).parametrize()
    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def test(client: httpx.Client, case: Any) -> None:
        keeps_to_the_document(client, case)

    return test


# A name each: schemathesis gives the tests of one function one id, and xdist runs an id once.
TESTS = {f"test_{one.ok().label}": schema_test(one.ok()) for one in schema.get_all_operations()}
globals().update(TESTS)


def test_no_operation_is_left_out() -> None:
    paths = schema.raw_schema["paths"].values()
    assert len(TESTS) == sum(len(methods) for methods in paths) > 10
