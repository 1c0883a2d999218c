"""Cutting the body of a batch into one text per user, whatever way the pieces fall."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import ijson

from service.problems import Problem

TOO_LONG = None
"""Stands for an entry beyond the size limit, whose text was thrown away."""

_BLANK = b" \t\r\n"


async def ndjson_entries(parts: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes | None]:
    """The lines of an NDJSON body, without blank ones; ``TOO_LONG`` for each of more than ``max_bytes`` bytes."""
    rest = b""
    skipping = False
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if skipping or len(line) > max_bytes:
                skipping = False
                yield TOO_LONG
            elif line.strip(_BLANK):
                yield line
        if len(rest) > max_bytes:
            skipping, rest = True, b""
    if skipping or len(rest) > max_bytes:
        yield TOO_LONG
    elif rest.strip(_BLANK):
        yield rest


async def list_entries(parts: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes | None]:
    """The elements of a JSON list, parsed as they arrive.

    Raises:
        Problem: 400 where the text is not JSON, 422 where it is not a list or an element is far beyond ``max_bytes``.
    """
    elements = ijson.sendable_list()
    parser = ijson.items_coro(elements, "item", use_float=True)
    opened = False
    since_last = 0
    try:
        async for part in parts:
            if not opened:
                _check_opening(part)
                opened = opened or bool(part.strip(_BLANK))
            parser.send(part)
            since_last = 0 if elements else since_last + len(part)
            if since_last > max_bytes + len(part):
                raise Problem("invalid_request", f"an element may have {max_bytes} bytes at most")
            for element in elements:
                text = json.dumps(element).encode()
                yield text if len(text) <= max_bytes else TOO_LONG
            elements.clear()
        parser.close()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise Problem("malformed_json", "the body is not a whole JSON list; send one, or NDJSON") from error
    if not opened:
        raise Problem("malformed_json", "the body is empty; send a JSON list, or NDJSON")


def _check_opening(part: bytes) -> None:
    start = part.lstrip(_BLANK)
    if start and not start.startswith(b"["):
        raise Problem("invalid_request", "the body must be a JSON list; one user goes to /v1/recommendations")
