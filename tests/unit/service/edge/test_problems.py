from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.edge.problems import (
    CATALOGUE,
    MAX_ERRORS,
    Problem,
    ProblemBody,
    from_exception,
    from_validation,
    responses,
)
from service.engine.jobs import DeadlineExceeded, QueueFull
from service.schemas import RecommendationRequest


def invalid(text: str) -> Problem:
    with pytest.raises(ValidationError) as error:
        RecommendationRequest.model_validate_json(text)
    return from_validation(error.value)


def test_every_code_gives_a_document_that_follows_its_schema() -> None:
    for code, (status, title) in CATALOGUE.items():
        response = Problem(code, "Do this.").response(instance="/v1/x", request_id="r1")
        body = ProblemBody.model_validate_json(bytes(response.body))
        assert (response.status_code, body.status, body.title, body.code) == (status, status, title, code)
        assert response.media_type == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "code", "headers"),
    [
        (QueueFull(3), "overloaded", {"Retry-After": "3"}),
        (DeadlineExceeded(), "deadline_exceeded", {}),
        (HTTPException(404), "not_found", {}),
        (HTTPException(405, headers={"Allow": "GET"}), "method_not_allowed", {"Allow": "GET"}),
        (HTTPException(400, "odd"), "bad_request", {}),
        (RuntimeError("secret"), "internal_error", {}),
    ],
)
def test_what_each_exception_becomes(error: Exception, code: str, headers: dict[str, str]) -> None:
    problem = from_exception(error)
    assert (problem.code, problem.headers) == (code, headers)
    assert "secret" not in problem.detail


def test_pointers_lead_to_what_is_wrong() -> None:
    problem = invalid('{"user_id": "u", "history": [{"item_id": "s"}, {"item_id": "", "rating": "5"}], "a/b~": 1}')
    assert [error.pointer for error in problem.errors] == [
        # The first fault ends a list.
        "/history/0/rating",
        "/a~1b~0",
    ]
    assert problem.status == 422
    assert problem.detail.endswith("(and 1 more)")


def test_what_is_not_json_is_400_and_a_list_of_faults_is_bounded() -> None:
    assert invalid('{"user_id": ').code == "malformed_json"
    many = json.dumps({"user_id": "u", **{f"unknown{number}": 1 for number in range(100)}})
    assert len(invalid(many).errors) == MAX_ERRORS


def test_openapi_joins_codes_of_one_status() -> None:
    described = responses("user_unknown", "model_unknown", "overloaded")
    assert set(described) == {404, 503}
    assert described[404]["description"].count(";") == 1
    assert "Retry-After" in described[503]["headers"]
