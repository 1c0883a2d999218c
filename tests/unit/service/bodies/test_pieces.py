"""Read in pieces or at once: the same bodies are taken, with the same values, and the same are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.bodies.json_cutter import PIECE_BYTES
from service.bodies.pieces import parse_in_pieces
from service.edge.problems import Problem
from service.schemas import EmbeddingsRequest, EventsRequest, RecommendationRequest

MODELS: tuple[type[BaseModel], ...] = (RecommendationRequest, EventsRequest, EmbeddingsRequest)

ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from([",", '"', "\\", "[", "}", "é"])
numbers = st.integers(-9, 9) | st.floats(-1e3, 1e3)
junk = st.none() | st.booleans() | numbers | ids
rating = st.fixed_dictionaries({"item_id": ids | junk, "rating": numbers | junk}, optional={"more": junk})
event = st.fixed_dictionaries(
    {"event_id": ids, "user_id": ids, "item_id": ids, "rating": numbers}, optional={"x": junk}
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "user_id": ids | junk,
        "k": st.integers(0, 501) | junk,
        "exclude_items": st.lists(ids, max_size=4) | st.lists(junk, max_size=3) | junk,
        "filter": st.fixed_dictionaries(
            {},
            optional={
                "items": st.lists(ids, max_size=6) | st.lists(junk, max_size=3) | junk,
                "where": st.dictionaries(ids, st.fixed_dictionaries({}, optional={"any": st.lists(ids)}) | junk),
                "available": junk,
                "x": junk,
            },
        )
        | junk,
        "history": st.lists(rating, max_size=3),
        "events": st.lists(event, max_size=3) | junk,
        "user_ids": st.lists(ids, max_size=3),
        "vectors": st.lists(st.lists(numbers | junk, max_size=4), max_size=3) | junk,
        "other": st.recursive(
            junk, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ids, inner, max_size=3)
        ),
    },
)


def plain(value: Any) -> Any:
    """Arrays and the tuples they stand for alike."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def outcome(read: Any) -> Any:
    try:
        return plain(read())
    except (Problem, ValidationError):
        return "refused"


def same(model: type[BaseModel], text: bytes) -> None:
    assert outcome(lambda: parse_in_pieces(model, text)) == outcome(lambda: model.model_validate_json(text)), text


@given(st.sampled_from(MODELS), bodies, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=300)
def test_a_body_means_the_same_in_pieces(model: type[BaseModel], body: Any, indent: int | None, ascii: bool) -> None:
    same(model, json.dumps(body, indent=indent, ensure_ascii=ascii).encode())


@given(st.sampled_from(MODELS), bodies, st.data())
@settings(max_examples=300)
def test_a_damaged_body_is_refused_or_means_the_same(model: type[BaseModel], body: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(list(b',:[]{}"\\ 0e-nt\xff')).map(chr)
        ).encode("latin-1")
    same(model, bytes(text))


@given(st.sampled_from(MODELS), st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_refused_with_a_problem(model: type[BaseModel], text: bytes) -> None:
    same(model, text)


@pytest.mark.parametrize(
    ("text", "pointer", "said"),
    [
        (b'{"vectors":[[' + b"0," * 5000 + b"0]]}", "/vectors/0", "at most"),
        (b'{"user_ids":[' + b'"a",' * 1024 + b'"a"]}', "/user_ids", "more than 1024 items"),
        (b'{"user_ids":["' + b"a" * PIECE_BYTES + b'"]}', "/user_ids/0", f"{PIECE_BYTES} bytes at most"),
        (b'{"encoding":"' + b"a" * PIECE_BYTES + b'"}', "/encoding", f"{PIECE_BYTES} bytes at most"),
        (b"{" + b",".join(b'"a%d":0' % number for number in range(65)) + b"}", "", "64 members at most"),
    ],
)
def test_what_is_too_much_is_told_with_its_place(text: bytes, pointer: str, said: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_in_pieces(EmbeddingsRequest, text)
    assert refused.value.code == "invalid_request"
    assert refused.value.errors[0].pointer == pointer
    assert said in refused.value.detail
