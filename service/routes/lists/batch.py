"""Recommendations for many users in one request."""

from __future__ import annotations

import asyncio
import logging
import zlib
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.bodies.batch_entries import list_entries, ndjson_entries
from service.bodies.body_spool import BodyTooLarge, Spool, SpoolFull, open_spool
from service.bodies.openapi import reference, request_body
from service.bodies.requests import JSON, declared_length, media_type, too_large
from service.components import Runtime, runtime_of
from service.edge.middleware import from_console
from service.edge.problems import BODY_PROBLEMS, Problem, responses
from service.routes.lists.batch_stream import Bulk

logger = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
FULL_DISK_SECONDS = 30
"""After so long a batch may be sent again that found no room to be kept."""
GZIP_WBITS = 31

router = APIRouter(tags=["recommendations"])


@router.post(
    "/v1/recommendations/batch",
    summary="Recommend items to many users",
    response_class=Response,
    responses={
        200: {
            "description": "One line for each user, in the order of the request.",
            "content": {NDJSON: {"schema": reference("BatchLine")}},
        },
        **responses(
            *BODY_PROBLEMS,
            "internal_error",
            "overloaded",
        ),
    },
    openapi_extra=request_body(
        (JSON, {"type": "array", "items": reference("BatchUser")}), (NDJSON, reference("BatchUser"))
    ),
)
async def recommend_batch(request: Request) -> Response:
    """Send a JSON list or NDJSON of users, up to millions; the answer is NDJSON in the same order.

    A user that cannot be answered gets a line with `error`. Lines are sent while the request is still arriving,
    nothing is computed for a client that has left, and the answer is gzipped if `Accept-Encoding` asks for it.
    """
    kind = media_type(request, JSON, NDJSON)
    runtime = runtime_of(request)
    declared_length(request, limit=runtime.settings.max_stream_bytes)
    return BatchResponse(runtime, ndjson=kind == NDJSON, gzip=_wants_gzip(request.headers.get("accept-encoding", "")))


class BatchResponse(Response):
    """Reads the request and writes the answer at the same time, in bounded memory."""

    def __init__(self, runtime: Runtime, *, ndjson: bool, gzip: bool) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        if gzip:
            self.headers["content-encoding"] = "gzip"
        self.headers["vary"] = "Accept-Encoding"
        self._runtime = runtime
        self._ndjson = ndjson
        self._counted = True
        self._compressor = zlib.compressobj(level=1, wbits=GZIP_WBITS) if gzip else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; end at once when the client leaves."""
        self._counted = not from_console(scope)
        with open_spool(limit=self._runtime.settings.max_stream_bytes) as spool:
            receiving = asyncio.create_task(_receive(spool, receive))
            answering = asyncio.create_task(self._send(spool, send))
            try:
                await asyncio.wait((receiving, answering), return_when=asyncio.FIRST_COMPLETED)
                if answering.done():
                    await answering
                else:
                    # Receiving only ends by an exception: too much came, or the client has left.
                    await receiving
            except BodyTooLarge:
                raise too_large(self._runtime.settings.max_stream_bytes) from None
            except SpoolFull as full:
                logger.error("a batch cannot be stored in a temporary file: %s", full)
                detail = "there is no temporary space for a batch of this size; send a smaller one, or try again"
                raise Problem("overloaded", detail, headers={"Retry-After": str(FULL_DISK_SECONDS)}) from None
            finally:
                receiving.cancel()
                answering.cancel()
                await asyncio.gather(receiving, answering, return_exceptions=True)
                # A task holds its exception, that this frame, this the task: the whole batch, until it is collected.
                del receiving, answering

    async def _send(self, spool: Spool, send: Send) -> None:
        split = ndjson_entries if self._ndjson else list_entries
        entries = split(spool.parts(), max_bytes=self._runtime.settings.max_line_bytes)
        started = False
        async with aclosing(Bulk(self._runtime, counted=self._counted).lines(entries)) as answer:
            async for lines in answer:
                if not started:
                    await self._start(send)
                    started = True
                await send({"type": "http.response.body", "body": await self._pack(lines), "more_body": True})
        if not started:
            await self._start(send)
        tail = self._compressor.flush() if self._compressor else b""
        await send({"type": "http.response.body", "body": tail, "more_body": False})

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _pack(self, lines: bytes) -> bytes:
        if self._compressor is None:
            return lines
        packed = await asyncio.to_thread(self._compressor.compress, lines)
        return packed + self._compressor.flush(zlib.Z_SYNC_FLUSH)


async def _receive(spool: Spool, receive: Receive) -> None:
    """Fill ``spool``, then wait for the client to leave; ends only by an exception."""
    await spool.fill(receive)
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def _wants_gzip(accept_encoding: str) -> bool:
    """Whether ``Accept-Encoding`` names gzip with a weight other than 0."""
    for offer in accept_encoding.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
