"""What of a connection can be told without one: when bytes go out, and which uvicorn it is built on."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from diffcdr.errors import DiffCDRError
from service.process.protocol import HOOKS, ServiceProtocol, WholeAnswers, check_uvicorn

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed_after = len(self.writes)

    def is_closing(self) -> bool:
        return self.closed_after is not None


def on(wire: Wire) -> WholeAnswers:
    return WholeAnswers(cast(asyncio.Transport, wire))


def test_a_head_waits_for_the_first_part_of_its_body_alone() -> None:
    wire = Wire()
    answers = on(wire)
    answers.write(HEAD)
    assert wire.writes == []
    answers.write(memoryview(b"he"))
    answers.write(memoryview(b"llo"))
    assert wire.writes == [HEAD + b"he", b"llo"]


@pytest.mark.parametrize("data", [STREAM, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_what_no_body_of_known_length_follows_goes_out_at_once(data: bytes) -> None:
    wire = Wire()
    on(wire).write(data)
    assert wire.writes == [data]


def test_a_head_without_a_body_goes_out_when_the_answer_is_complete_or_the_connection_closed() -> None:
    complete, closed = Wire(), Wire()
    answers = on(complete)
    answers.write(HEAD)
    answers.flush()
    answers.flush()
    assert complete.writes == [HEAD] and not answers.is_closing()
    answers = on(closed)
    answers.write(HEAD)
    answers.close()
    assert closed.writes == [HEAD] and closed.closed_after == 1 and answers.is_closing()


@given(parts=st.lists(st.one_of(st.binary(max_size=9), st.sampled_from([HEAD, STREAM, HEAD + b"hello"]))))
def test_whatever_is_written_arrives_in_order_and_whole(parts: list[bytes]) -> None:
    wire = Wire()
    answers = on(wire)
    for part in parts:
        answers.write(part)
    answers.flush()
    assert b"".join(wire.writes) == b"".join(parts)
    assert len(wire.writes) <= len(parts)


def test_every_method_of_uvicorns_that_is_overridden_is_checked_and_none_is_private() -> None:
    inherited = {name for base in HttpToolsProtocol.__mro__[:-1] for name in vars(base)}
    own = {name for name, value in vars(ServiceProtocol).items() if callable(value)} - {"__init__"}
    assert own & inherited == set(HOOKS)
    assert not any(name.startswith("_") for name in HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_uvicorn_that_would_not_call_the_service_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    check_uvicorn()
    monkeypatch.setattr(HttpToolsProtocol, hook, None)
    with pytest.raises(DiffCDRError, match=rf"uvicorn \d.* has no {hook}, .*; install the version that constraints"):
        check_uvicorn()
