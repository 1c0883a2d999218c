"""Every error over HTTP as RFC 9457 ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from diffcdr.filtering.item_filter import FilterError
from service.bundles.loader import LoadRefused, LoadRunning
from service.bundles.registry import ModelUnknown, NothingToRollBack
from service.edge.auth import Forbidden, Unauthenticated
from service.edge.host_names import HostUnknown
from service.edge.rate_limit import RateLimited
from service.edge.same_origin import CrossOrigin
from service.engine.jobs import DeadlineExceeded, QueueFull
from service.state.store import StateUnavailable

MEDIA_TYPE = "application/problem+json"

CATALOGUE: Mapping[str, tuple[int, str]] = {
    "malformed_json": (400, "The body is not JSON"),
    "bad_request": (400, "The request cannot be read"),
    "unauthenticated": (401, "An API key is required"),
    "forbidden": (403, "The key lacks the required scope"),
    "cross_origin": (403, "Requests from web pages of other origins are refused"),
    "not_found": (404, "There is nothing at this address"),
    "user_unknown": (404, "Nothing personal is known about this user"),
    "item_unknown": (404, "The bundle does not know this item"),
    "model_unknown": (404, "No such model is loaded"),
    "not_in_bundle": (404, "The bundle does not contain this"),
    "method_not_allowed": (405, "This address does not allow this method"),
    "request_timeout": (408, "The request did not arrive in time"),
    "conflict": (409, "The request conflicts with the current state"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The media type of the body is not supported"),
    "host_unknown": (421, "The host name is unknown"),
    "invalid_request": (422, "The request does not follow the schema"),
    "idempotency_key_reused": (422, "The idempotency key belongs to another request"),
    "bundle_refused": (422, "The bundle cannot be served"),
    "rate_limited": (429, "This caller has made too many requests"),
    "internal_error": (500, "The service failed"),
    "overloaded": (503, "The service is overloaded"),
    "state_unavailable": (503, "The state store is unavailable"),
    "deadline_exceeded": (504, "The answer was not ready in time"),
}
"""code -> (status, title). A code never changes its meaning; clients may rely on it."""

_CODES: Mapping[type[Exception], str] = {
    CrossOrigin: "cross_origin",
    DeadlineExceeded: "deadline_exceeded",
    Forbidden: "forbidden",
    HostUnknown: "host_unknown",
    LoadRefused: "bundle_refused",
    LoadRunning: "conflict",
    ModelUnknown: "model_unknown",
    NothingToRollBack: "conflict",
}
"""Exceptions whose message is for the client as it stands."""

MAX_ERRORS = 20
"""Most entries of ``errors``."""

_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}
"""What the router itself raises."""


class FieldError(BaseModel):
    """One thing wrong with the request."""

    model_config = ConfigDict(extra="forbid")

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter.")
    detail: str


class ProblemBody(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldError]


class Problem(Exception):
    """Raise it anywhere below a route: the client gets it as problem+json."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``code`` is a key of ``CATALOGUE``; ``detail`` is a sentence that says what to do about it."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.status, self.title = CATALOGUE[code]

    def content(self, *, instance: str, request_id: str) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": f"urn:diffcdr:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
            "errors": [{"pointer": error.pointer, "detail": error.detail} for error in self.errors],
        }

    def response(self, *, instance: str, request_id: str) -> Response:
        """The whole answer."""
        body = orjson.dumps(self.content(instance=instance, request_id=request_id))
        return Response(body, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def from_validation(error: ValidationError, location: Sequence[str | int] = ()) -> Problem:
    """400 where the text is not JSON, else 422 with a pointer to each part that is wrong, below ``location``."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    for part in details[:MAX_ERRORS]:
        part["loc"] = (*location, *part["loc"])
    return _from_details(details)


def from_exception(error: Exception) -> Problem:
    """The problem that ``error`` stands for; ``internal_error`` for anything not expected."""
    match error:
        case Problem():
            problem = error
        case QueueFull():
            detail = f"the queue is full; try again in {error.retry_after} s"
            problem = Problem("overloaded", detail, headers={"Retry-After": str(error.retry_after)})
        case RateLimited():
            problem = Problem("rate_limited", str(error), headers={"Retry-After": str(error.retry_after)})
        case StateUnavailable():
            problem = Problem("state_unavailable", "nothing was changed; try again", headers={"Retry-After": "1"})
        case Unauthenticated():
            detail = "send a known key as Authorization: Bearer KEY, or as X-API-Key"
            problem = Problem("unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})
        case FilterError():
            problem = filter_refused(error)
        case RequestValidationError():
            problem = _from_details(error.errors())
        case HTTPException(status_code=status):
            problem = _from_http(status, error)
        case _ if code := next((code for kind, code in _CODES.items() if isinstance(error, kind)), None):
            problem = Problem(code, str(error))
        case _:
            problem = Problem(
                "internal_error", "an unexpected error occurred; the log has details under this request_id"
            )
    return problem


def filter_refused(error: FilterError, *, within: str = "") -> Problem:
    """422 for a filter or caps, ``within`` the request, that the bundle cannot be asked."""
    pointer = f"{within}/{error.part}{error.pointer}"
    return Problem(
        "invalid_request", f"{pointer}: {error.detail}", errors=[FieldError(pointer=pointer, detail=error.detail)]
    )


BODY_PROBLEMS = (
    "unauthenticated",
    "forbidden",
    "malformed_json",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
)
"""What every route that takes a body may answer."""


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problems a route can answer with."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = CATALOGUE[code]
        known = by_status.get(status)
        by_status[status] = {
            "description": f"{known['description']}; {title}" if known else title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        if status in (429, 503):
            by_status[status]["headers"] = {
                "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
            }
    return by_status


def _from_details(details: Sequence[ErrorDetails] | Sequence[Any]) -> Problem:
    if any(part["type"] == "json_invalid" for part in details):
        return Problem("malformed_json", f"{details[0]['msg']}; send one valid JSON value in UTF-8")
    errors = [FieldError(pointer=_pointer(part["loc"]), detail=part["msg"]) for part in details[:MAX_ERRORS]]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return Problem("invalid_request", f"{errors[0].pointer or 'body'}: {errors[0].detail}{more}", errors=errors)


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901; FastAPI puts where a parameter stands (path, query, …) first."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _from_http(status: int, error: HTTPException) -> Problem:
    code = _BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
    details = {
        "not_found": "see /docs for the addresses there are",
        "method_not_allowed": "see the Allow header for the methods there are",
    }
    return Problem(code, details.get(code, str(error.detail)), headers=error.headers)
