"""The two directions of a batch, in chunks of bounded size: users to NDJSON, and NDJSON to lines."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

import orjson

from diffcdr.client.answers import BatchLine
from diffcdr.client.calls import User

PATH = "/v1/recommendations/batch"
HEADERS = {"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}
PIECE_BYTES = 64 << 10
"""Lines are sent in pieces of about this size: one write a line would cost more than the line."""

AsyncUsers = Iterable[str | User] | AsyncIterable[str | User]


def line_of(user: str | User) -> bytes:
    """One line of the request; a bare id asks for the service's defaults."""
    content = {"user_id": user} if isinstance(user, str) else user.body()
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def pieces(users: Iterable[str | User]) -> Iterator[bytes]:
    """The request's body."""
    waiting = bytearray()
    for user in users:
        waiting += line_of(user)
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def async_pieces(users: AsyncUsers) -> AsyncIterator[bytes]:
    """The request's body, from an iterable that may be asynchronous."""
    if not isinstance(users, AsyncIterable):
        for piece in pieces(users):
            yield piece
        return
    waiting = bytearray()
    async for user in users:
        waiting += line_of(user)
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


class Lines:
    """Assembles the lines of an answer from chunks that may be cut anywhere.

    At newlines alone: titles may hold other characters at which Python's own line splitting would cut.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> Iterator[BatchLine]:
        """The lines that ``part`` completes."""
        *whole, self._rest = (self._rest + part).split(b"\n")
        return (BatchLine.model_validate_json(line) for line in whole)
