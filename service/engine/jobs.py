"""Jobs for the engine thread: their content, how they end, and how several share one call."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from diffcdr.recommend.recommender import Query, Recommendation, UserUnknown
from diffcdr.stage_times import measured

Answer = Recommendation | UserUnknown
T = TypeVar("T")


class Engine(Protocol):
    """What the batcher calls: a :class:`diffcdr.recommend.recommender.Recommender`, or a stand-in in tests."""

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer ``queries`` in their order."""
        ...


class QueueFull(Exception):
    """The queue is full. ``retry_after``: whole seconds until there should be room, at least 1."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full for about {retry_after} s")
        self.retry_after = retry_after


class DeadlineExceeded(Exception):
    """The deadline passed before the answer was ready."""

    def __init__(self) -> None:
        super().__init__("the answer was not ready in time; raise timeout_ms or try again")


class ClientLeft(Exception):
    """The client has disconnected."""


@dataclass(slots=True, eq=False)
class Job:
    """Rows for one engine call. ``queries`` may share a call with other jobs; ``call`` has one of its own."""

    engine: Engine
    rows: int
    future: asyncio.Future[Any]
    admitted: float
    queries: Sequence[Query] = ()
    call: Callable[[], Any] | None = None
    deadline: float = math.inf
    gone: Callable[[], Awaitable[None]] | None = None
    watch: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A result with its timings: seconds waiting, seconds computing, and the seconds of each stage."""

    result: T
    queued: float
    computed: float
    stages: Mapping[str, float]


def run(jobs: Sequence[Job]) -> tuple[list[Any], Mapping[str, float]]:
    """Run ``jobs`` in one call on the engine thread. Each gets its part of the answers, or the error.

    Also the seconds of each stage, for all of them together.
    """
    with measured() as stages:
        return _outcomes(jobs), stages


def _outcomes(jobs: Sequence[Job]) -> list[Any]:
    try:
        return _call(jobs)
    except Exception as error:
        # One job must not fail its neighbours: each is tried alone.
        return [error] if len(jobs) == 1 else [_outcomes([job])[0] for job in jobs]


def _call(jobs: Sequence[Job]) -> list[Any]:
    first = jobs[0]
    if first.call is not None:
        return [first.call()]
    answers = first.engine.answer([query for job in jobs for query in job.queries])
    ends = itertools.accumulate(job.rows for job in jobs)
    return [answers[end - job.rows : end] for job, end in zip(jobs, ends, strict=True)]


async def watch(job: Job, gone: Callable[[], Awaitable[None]]) -> None:
    """Fail ``job`` once ``gone`` says that its client has left."""
    with contextlib.suppress(asyncio.CancelledError):
        await gone()
        fail(job, ClientLeft())


def fail(job: Job, error: Exception) -> None:
    """End the wait for ``job`` with ``error``, unless it has ended already."""
    if not job.future.done():
        job.future.set_exception(error)
