"""Response bodies, written straight from the recommender's results without validating them again."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from diffcdr.recommend.query import Explanation
from diffcdr.recommend.recommender import Query, Recommendation
from service.bundles.registry import Model
from service.edge.problems import Problem

JSON = "application/json"


def json_response(content: Any, *, headers: dict[str, str] | None = None) -> Response:
    """``content`` as JSON; NumPy arrays are written as lists."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), headers=headers, media_type=JSON)


def item_list(answer: Recommendation) -> list[dict[str, Any]]:
    """The items of ``answer`` with their ranks in the whole list, and their explanations where asked for."""
    items: list[dict[str, Any]] = []
    for rank, (item_id, score, title) in enumerate(
        zip(answer.item_ids, answer.scores, answer.titles, strict=True), start=answer.offset + 1
    ):
        item: dict[str, Any] = {"item_id": item_id, "score": score, "rank": rank}
        if title is not None:
            item["title"] = title
        items.append(item)
    if answer.explanations is not None:
        for item, explanation in zip(items, answer.explanations, strict=True):
            item["explanation"] = _shares(explanation)
    elif answer.unexplained_reason is not None:
        for item in items:
            item["explanation"] = None
    return items


def _shares(explanation: Explanation) -> dict[str, Any]:
    sources = [
        {
            "item_id": source.item_id,
            **({} if source.title is None else {"title": source.title}),
            "rating": source.rating,
            "share": source.share,
        }
        for source in explanation.sources
    ]
    return {
        "sources": sources,
        "other_sources": explanation.other_sources,
        "target_ratings": explanation.target_ratings,
        "base": explanation.base,
        "rest": explanation.rest,
    }


def list_content(answer: Recommendation, model: Model) -> dict[str, Any]:
    """``answer`` as the members of a response."""
    asked = answer.explanations is not None or answer.unexplained_reason is not None
    return {
        "items": item_list(answer),
        "strategy": answer.strategy,
        "fallback_reason": answer.fallback_reason,
        **({"unexplained_reason": answer.unexplained_reason} if asked else {}),
        **empty_reason(answer),
        "bundle": model.id,
    }


def empty_reason(answer: Recommendation) -> dict[str, Any]:
    """The member that says why ``answer`` is empty; none where it is not."""
    return {} if answer.empty_reason is None else {"empty_reason": answer.empty_reason}


def user_unknown(query: Query) -> Problem:
    """404 if the caller denies the fallback; 503 if the user may be known but cannot be looked up now."""
    if not query.personalise or query.unknown_reason == "state_unavailable":
        return state_away()
    if query.unknown_reason == "vectors_unavailable":
        return vectors_away()
    detail = (
        "none of the items in history is known in the source domain"
        if query.history
        else "this user has no ratings in training; send a history, or allow the fallback"
    )
    return Problem("user_unknown", detail)


def vectors_away() -> Problem:
    """503: source vectors are in Redis, and Redis does not answer."""
    detail = "source vectors cannot be read now; try again, or allow the fallback"
    return Problem("state_unavailable", detail, headers={"Retry-After": "1"})


def state_away() -> Problem:
    """503: the state is unreachable, so opt-outs are unknown."""
    detail = "the opt-outs cannot be read now; try again, or allow the fallback"
    return Problem("state_unavailable", detail, headers={"Retry-After": "1"})


def etag_response(request: Request, etag: str, content: Any) -> Response:
    """``content`` with a strong ``etag``, or 304 if the caller has it already."""
    headers = {"ETag": f'"{etag}"', "Cache-Control": "no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if headers["ETag"] in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return json_response(content, headers=headers)


def content_response(request: Request, content: Any) -> Response:
    """``content`` with its hash as ETag, or 304 if the caller has it already."""
    body = orjson.dumps(content)
    return etag_response(request, hashlib.sha256(body).hexdigest()[:32], content)
