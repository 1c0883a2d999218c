"""The errors of a call.

ClientError
├── ServiceError    the service answered with a problem document
└── Unreachable     no answer came, or not all of it
"""

from __future__ import annotations

from typing import Self

import httpx2 as httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from diffcdr.errors import DiffCDRError

LONGEST_SHOWN = 200


class ClientError(DiffCDRError):
    """The call has no answer."""


class FieldProblem(BaseModel):
    """One error in the request: a JSON pointer to it, and what is wrong there."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457). ``code`` is stable, ``detail`` is for people."""

    model_config = ConfigDict(frozen=True)

    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    errors: tuple[FieldProblem, ...] = ()

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """The document in ``response``, or one made from its status if a proxy answered."""
        try:
            return cls.model_validate_json(response.content)
        except ValidationError:
            return cls(
                title=response.reason_phrase,
                status=response.status_code,
                detail=response.text[:LONGEST_SHOWN],
                code="unknown",
                request_id=response.headers.get("x-request-id", ""),
            )


class ServiceError(ClientError):
    """The service refused. ``retry_after``: seconds it asked to wait, or None."""

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.title} ({problem.status} {problem.code}): {problem.detail}")
        self.problem = problem
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """The stable code, such as ``user_unknown``; ``unknown`` if it was not the service that answered."""
        return self.problem.code

    @classmethod
    def read(cls, response: httpx.Response) -> Self:
        """The error for ``response``, which has been read whole."""
        seconds = response.headers.get("retry-after", "")
        return cls(Problem.read(response), retry_after=float(seconds) if seconds.isdigit() else None)


class Unreachable(ClientError):
    """There was no connection, it broke, or it timed out."""

    def __init__(self, error: httpx.TransportError) -> None:
        super().__init__(f"the service did not answer ({type(error).__name__}: {error}); check that it runs there")
