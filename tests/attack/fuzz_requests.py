"""Bytes for whatever reads requests: heads, framing, bodies in pieces. Only answers and refusals may come back."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from hypothesis import strategies as st
from pydantic import BaseModel

from service.bodies.batch_entries import list_entries, ndjson_entries
from service.bodies.pieces import parse_in_pieces
from service.edge.problems import Problem
from service.schemas import EmbeddingsRequest, EventsRequest, RecommendationRequest

MAX_ENTRY = 64
ANSWER_SECONDS = 10.0
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")

BODY = b'{"user_id": "u00001", "k": 2}'
REQUESTS = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /v1/items/popular?k=3 HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\n\r\n",
    b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"
    b"%x;a=b\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(BODY), BODY),
    b"POST /v1/recommendations/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\n\r\n0\r\n\r\n" % (len(BODY) + 1, BODY),
    b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"PUT /v1/users/a%2Fb/opt-out HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET http://localhost/docs HTTP/1.0\r\n\r\n",
)
MARKS = (
    *(b"\r\n", b"\r", b"\n", b"\0", b":", b" ", b"\t", b"%", b"%zz", b"%c3%28", b"/", b"//", b"?", b"#", b"\xff", b";"),
    *(b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Host: b\r\n",
        b"Connection: close\r\n",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"Authorization: ",
    ),
)

done: Counter[str] = Counter()
"""Inputs by what came of them."""


def edit(content: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """``content`` after ``edits``, one after the other: from a place on, so many bytes give way to others."""
    for at, length, put in edits:
        content = content[:at] + put + content[at + length :]
    return content


def edited(seed: bytes, marks: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """``seed`` with some of its bytes replaced by marks or by anything, left out or repeated."""
    puts = st.one_of(st.sampled_from(marks), st.binary(max_size=6), st.just(b""), st.just(seed))
    places = st.lists(st.tuples(st.integers(0, len(seed)), st.integers(0, 8), puts), max_size=5)

    return places.map(lambda edits: edit(seed, edits))


def cut(content: bytes, places: Sequence[int]) -> list[bytes]:
    """``content`` in parts, as it may arrive; a place is counted from the beginning, round and round."""
    ends = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return [content[start:end] for start, end in zip(ends, ends[1:], strict=False)]


conversations: st.SearchStrategy[tuple[bytes, list[int]]] = st.tuples(
    st.lists(st.sampled_from(REQUESTS).flatmap(lambda seed: edited(seed, MARKS)), min_size=1, max_size=3).map(b"".join),
    st.lists(st.integers(0, 1000), max_size=3),
)
json_marks = (b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b"\r", b" ", b"\\u12", b"1e999", b"null", b"\xff")
entries: st.SearchStrategy[tuple[bytes, list[int]]] = st.tuples(
    st.one_of(
        edited(BODY + b"\n" + BODY + b"\n\n", json_marks),
        edited(b"[" + BODY + b", " + BODY + b"]", json_marks),
        st.lists(st.sampled_from(json_marks), max_size=40).map(b"".join),
        st.binary(max_size=200),
    ),
    st.lists(st.integers(0, 1000), max_size=4),
)
bodies = st.one_of(
    edited(b'{"user_ids": ["a", "b"], "encoding": "float"}', json_marks),
    edited(b'{"vectors": [[1, 2.5], [3e1, -4]], "encoding": "base64"}', json_marks),
    edited(b'{"user_id": "u", "history": [{"item_id": "a", "rating": 5}], "exclude_items": ["b"]}', json_marks),
    edited(b'{"events": [{"event_id": "e", "user_id": "u", "item_id": "i", "rating": 5}]}', json_marks),
    st.binary(max_size=200),
)
models: tuple[type[BaseModel], ...] = (EmbeddingsRequest, EventsRequest, RecommendationRequest)


def try_entries(given: tuple[bytes, list[int]]) -> None:
    """Entries, and the same however they arrive; of a list also a refusal."""
    content, places = given
    for read in (ndjson_entries, list_entries):
        whole, cut_up = (_entries(read, parts) for parts in ([content], cut(content, places)))
        if whole is None or cut_up is None:
            done["list refused"] += 1
            # A part that is refused for its length may be refused sooner where it arrives at once.
            assert read is list_entries
            continue
        assert whole == cut_up
        assert all(entry is None or 0 < len(entry) <= MAX_ENTRY for entry in whole)
        done[f"{read.__name__} read"] += 1


def _entries(read: Callable[..., AsyncIterator[bytes | None]], parts: list[bytes]) -> list[bytes | None] | None:
    async def arriving() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def collect() -> list[bytes | None]:
        return [entry async for entry in read(arriving(), max_bytes=MAX_ENTRY)]

    try:
        return asyncio.run(collect())
    except Problem:
        return None


def try_body(content: bytes) -> None:
    """A model, or a problem."""
    for model in models:
        try:
            parse_in_pieces(model, content)
        except Problem:
            done["body refused"] += 1
        else:
            done["body taken"] += 1


def try_conversation(given: tuple[bytes, list[int]], port: int) -> None:
    """Send it in parts, then nothing more: whatever it is, the connection ends, and with nothing but answers."""
    content, places = given
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        try:
            for part in cut(content, places):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                heard += part
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            done["connection reset"] += 1  # what it did not read of a refused request
    assert not heard or heard.startswith(b"HTTP/1.1 "), heard[:200]
    assert b'"internal_error"' not in heard, (content, heard)
    for status in _STATUS.findall(heard):
        done[f"HTTP {status.decode()}"] += 1
        assert status != b"500", (content, heard)
    if not heard:
        done["closed without a word"] += 1


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Fails where an error was logged meanwhile, by the service or by the event loop."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(
                record.getMessage() + (logging.Formatter().formatException(record.exc_info) if record.exc_info else "")
            )

    handler = Collect(level=logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert found == []
