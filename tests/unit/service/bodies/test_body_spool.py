from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.bodies.body_spool import MEMORY_BYTES, READ_BYTES, BodyTooLarge, open_spool


class Sender:
    """An ASGI ``receive`` that gives out ``parts`` and then says that the client left."""

    def __init__(self, parts: Sequence[bytes], *, whole: bool = True) -> None:
        self._messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": not whole or number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]

    async def __call__(self) -> Message:
        await asyncio.sleep(0)
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}


@settings(max_examples=40)
@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=20), fill_first=st.booleans())
def test_what_comes_out_is_what_went_in(parts: list[bytes], fill_first: bool) -> None:
    async def main() -> bytes:
        with open_spool(limit=10_000) as spool:
            filling = asyncio.create_task(spool.fill(Sender(parts)))
            if fill_first:
                await filling
            read = b"".join([part async for part in spool.parts()])
            await filling
            return read

    assert asyncio.run(main()) == b"".join(parts)


def test_a_body_larger_than_memory_comes_out_in_small_pieces() -> None:
    async def main() -> list[bytes]:
        with open_spool(limit=4 * MEMORY_BYTES) as spool:
            await spool.fill(Sender([bytes([number]) * (MEMORY_BYTES // 2) for number in range(5)]))
            return [part async for part in spool.parts()]

    parts = asyncio.run(main())
    assert max(map(len, parts)) <= READ_BYTES
    assert b"".join(parts) == b"".join(bytes([number]) * (MEMORY_BYTES // 2) for number in range(5))


def test_too_much_is_refused_and_a_client_that_leaves_is_noticed() -> None:
    async def fill(sender: Sender) -> None:
        with open_spool(limit=10) as spool:
            await spool.fill(sender)

    with pytest.raises(BodyTooLarge):
        asyncio.run(fill(Sender([b"12345", b"678901"])))
    with pytest.raises(ClientDisconnect):
        asyncio.run(fill(Sender([b"12345"], whole=False)))
