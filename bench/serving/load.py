"""Load on an HTTP service: requests at a rate, or as many as it takes, over connections that stay open.

HTTP/1.1 on bare asyncio protocols, because a generator that is slower than what it measures measures itself. In an
open loop each request has a moment at which it is due, and its latency counts from then: a service that stalls is
charged for everybody who would have come in the meantime. How late the generator itself was is told beside it.
All times are those of the system's monotonic clock.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from diffcdr.errors import MissingExtraError

T = TypeVar("T")

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
LENGTH = b"content-length:"
MAX_CONNECTIONS = 4096
NO_ANSWER = 0
"""The status of a request whose connection closed before its answer was whole."""
REFUSED = -1
"""The status of a request that found no connection: it was never accepted."""
CLOSE_SECONDS = 10.0
"""How long connections may take to close."""
NAP_SECONDS = 0.002
"""Nearer to its next request than this, the generator does not sleep: timers are coarse, and its core is its own."""


@dataclass
class Outcome:
    """What came of a load: latencies in seconds by status, and how long the load lasted."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    without_retry_after: int = 0
    """Answers 429 or 503 that did not say when to come again."""
    late: list[float] = field(default_factory=list)
    """In an open loop: by how many seconds each request was sent, or a connection for it opened, after it was due. It
    counts in the latencies, and is the load's fault alone."""

    def add(self, status: int, seconds: float) -> None:
        """Note one answer."""
        self.latencies.setdefault(status, []).append(seconds)

    @property
    def statuses(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter({status: len(each) for status, each in self.latencies.items()})

    @property
    def failed(self) -> int:
        """Accepted requests that got no answer, or an error; the polite refusal 503 is not one."""
        return sum(
            count for status, count in self.statuses.items() if not 200 <= status < 300 and status not in (503, REFUSED)
        )

    @property
    def rate(self) -> float:
        """Answers 200 a second."""
        return len(self.latencies.get(200, ())) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which ``share`` of the answers 200 were there; infinite without any."""
        answered = self.latencies.get(200)
        return float(np.quantile(answered, share)) if answered else math.inf

    def lateness(self, share: float) -> float:
        """Seconds within which ``share`` of the requests of an open loop were sent after they were due."""
        return float(np.quantile(self.late, share)) if self.late else 0.0


@dataclass(frozen=True)
class Target:
    """Where to send requests, and what: whole requests as bytes on the wire."""

    port: int
    requests: Iterator[bytes]


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """A request with a JSON ``body`` as bytes on the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + HEAD_END + body


class _Connection(asyncio.Protocol):
    """One connection with one request in flight; calls ``done(status, retry_after)`` when its answer is whole."""

    def __init__(self, done: Callable[[_Connection, int, bool], None]) -> None:
        self._done = done
        self._received = bytearray()
        self._waiting = False
        self.transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, *, due: float) -> None:
        """Send a request that was due at ``due`` (``time.perf_counter``)."""
        assert self.transport is not None
        self.due, self._waiting = due, True
        self.transport.write(request)

    def drop(self) -> None:
        """Close the connection; nobody waits for an answer any more."""
        self._waiting = False
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(HEAD_END)
        if head_end < 0:
            return
        head = bytes(self._received[:head_end]).lower()
        if (at := head.find(LENGTH)) >= 0:
            length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
            whole = len(self._received) >= head_end + len(HEAD_END) + length
        else:
            whole = self._received.endswith(LAST_CHUNK)
        if not whole:
            return
        self._received.clear()
        self._waiting = False
        if b"connection: close" in head and self.transport is not None:
            self.transport.close()
            self.transport = None
        self._done(self, int(head[9:12]), b"retry-after:" in head)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._waiting:
            self._waiting = False
            self._done(self, NO_ANSWER, False)


class _Load:
    """Requests in flight on a growing set of connections."""

    def __init__(self, target: Target) -> None:
        self.outcome = Outcome()
        self._target = target
        self._idle: deque[_Connection] = deque()
        self._connections: list[_Connection] = []
        self._due: deque[float] = deque()
        self._opening = 0
        self._open = 0
        self._in_flight = 0
        self._next: Callable[[], float | None] = lambda: None

    async def closed(self, *, connections: int, seconds: float) -> Outcome:
        """As many requests as the service answers with ``connections`` of them in flight."""
        end = time.perf_counter() + seconds
        self._next = lambda: now if (now := time.perf_counter()) < end else None
        for _ in range(connections):
            self._submit(time.perf_counter())
        await asyncio.sleep(seconds)
        return await self._finish(seconds)

    async def open(self, *, rate: float, seconds: float) -> Outcome:
        """``rate`` requests a second, evenly, whether answers come or not."""
        begun = time.perf_counter()
        count = round(rate * seconds)
        for number in range(count):
            due = begun + number / rate
            while (wait := due - (now := time.perf_counter())) > 0:
                await asyncio.sleep(wait - NAP_SECONDS if wait > NAP_SECONDS else 0)
            if number % 64 == 0:
                await asyncio.sleep(0)
            self.outcome.late.append(now - due)
            self._submit(due)
        return await self._finish(seconds)

    def _submit(self, due: float) -> None:
        if self._idle:
            self._send(self._idle.popleft(), due)
            return
        self._due.append(due)
        if self._open + self._opening < MAX_CONNECTIONS:
            self._opening += 1
            asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._answered), "127.0.0.1", self._target.port
            )
        except OSError:
            self._opening -= 1
            if self._due:
                self.outcome.add(REFUSED, time.perf_counter() - self._due.popleft())
            return
        self._opening -= 1
        self._open += 1
        self._connections.append(connection)
        self._ready(connection)

    def _ready(self, connection: _Connection) -> None:
        if self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: _Connection, due: float) -> None:
        if connection.transport is None or connection.transport.is_closing():
            self._open -= 1
            self._submit(due)
            return
        self._in_flight += 1
        connection.send(next(self._target.requests), due=due)

    def _answered(self, connection: _Connection, status: int, retry_after: bool) -> None:
        now = time.perf_counter()
        self._in_flight -= 1
        self.outcome.add(status, now - connection.due)
        self.outcome.without_retry_after += status in (429, 503) and not retry_after
        due = self._next()
        if connection.transport is None:
            self._open -= 1
            if due is not None:
                self._submit(due)
        elif due is not None:
            self._send(connection, due)
        else:
            self._ready(connection)

    async def _finish(self, seconds: float) -> Outcome:
        """Wait for what is in flight, at most as long again and ten seconds."""
        limit = time.perf_counter() + seconds + 10.0
        while (self._in_flight or self._due) and time.perf_counter() < limit:
            await asyncio.sleep(0.005)
        for _ in range(self._in_flight + len(self._due)):
            self.outcome.add(NO_ANSWER, math.inf)
        await self._close_all()
        self.outcome.seconds = seconds
        return self.outcome

    async def _close_all(self) -> None:
        """Close every connection, also those being opened: uvloop may wait for ever to close a loop with one left."""
        limit = time.perf_counter() + CLOSE_SECONDS
        while time.perf_counter() < limit:
            for connection in self._connections:
                connection.drop()
            self._connections = [each for each in self._connections if each.transport is not None]
            if not self._connections and not self._opening:
                # A transport is closed in the turn of the loop after its protocol was told.
                await asyncio.sleep(0.005)
                return
            await asyncio.sleep(0.005)


async def closed_loop(target: Target, *, connections: int, seconds: float) -> Outcome:
    """The most that ``target`` answers with ``connections`` requests in flight."""
    return await _Load(target).closed(connections=connections, seconds=seconds)


async def open_loop(target: Target, *, rate: float, seconds: float) -> Outcome:
    """What becomes of ``rate`` requests a second; latencies count from when each was due."""
    return await _Load(target).open(rate=rate, seconds=seconds)


def run(load: Coroutine[Any, Any, T]) -> T:
    """Run ``load`` on an event loop of its own, the one that the service runs on.

    Raises:
        MissingExtraError: the service is not installed.
    """
    try:
        uvloop = importlib.import_module("uvloop")  # comes with the service, which training can do without
    except ModuleNotFoundError as error:
        load.close()
        raise MissingExtraError("bench serve", extra="serve") from error
    # What exists already is not looked through again and again: that would make requests late.
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(load)
    finally:
        gc.unfreeze()
