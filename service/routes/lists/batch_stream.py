"""Answers many users in chunks: parse, query the engine, write NDJSON lines in the order of the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from diffcdr.recommend.recommender import Query, Recommendation
from service.bodies.requests import parse
from service.bodies.responses import list_content, user_unknown
from service.bundles.registry import Model, ModelUnknown
from service.components import Runtime
from service.edge.problems import Problem, from_exception
from service.engine.jobs import Answer, QueueFull
from service.routes.lists.enrich import informed
from service.routes.lists.filters import require_askable
from service.schemas import BatchUser

TURN_SECONDS = 0.005
"""So long entries are parsed or written before other requests get their turn on the event loop."""

EXPLAINED_AT_ONCE = 16
"""An explained list takes the engine some milliseconds, and several times the room of a plain one."""


@dataclass(slots=True)
class _Entry:
    index: int
    user_id: str | None = None
    query: Query | None = None
    model: Model | None = None
    named: bool = False
    problem: Problem | None = None


class _Turn:
    """How long one batch has had the event loop to itself."""

    def __init__(self) -> None:
        self._end = 0.0

    async def give(self) -> None:
        """Yield to other tasks at the beginning, and whenever this one has run for long enough."""
        if time.perf_counter() >= self._end:
            await asyncio.sleep(0)
            self._end = time.perf_counter() + TURN_SECONDS


class Bulk:
    """Answers one batch request."""

    def __init__(self, runtime: Runtime, *, counted: bool = True) -> None:
        """``counted``: whether its lists count among those that callers got."""
        self._runtime = runtime
        self._counted = counted
        self._chunk_rows = runtime.settings.batch_rows
        # The whole batch is answered by the models it began with.
        self._lineup = runtime.registry.lineup

    async def lines(self, entries: AsyncIterator[bytes | None]) -> AsyncGenerator[bytes, None]:
        """NDJSON for ``entries``, in groups of whole lines; one chunk computes while the next is parsed.

        A problem with the body as a whole ends the answer with an error line, unless nothing was answered yet.

        Raises:
            Problem: the body cannot be read, and no line was given out yet.
            QueueFull: there was no room for the first chunk.
        """
        running: asyncio.Task[bytes] | None = None
        seen = 0
        try:
            async for chunk, problem in _chunks(entries, self._chunk_rows):
                if problem is not None and seen == 0:
                    raise problem
                parsed = await self._parse(chunk, first_index=seen)
                if problem is not None:
                    parsed.append(_Entry(seen + len(chunk), problem=problem))
                for part in _parts(parsed):
                    first = seen == 0 and part[0] is parsed[0]
                    following = asyncio.get_running_loop().create_task(self._answer(part, patient=not first))
                    if running is not None:
                        done, running = running, following
                        yield await done
                    running = following
                seen += len(chunk)
            if running is not None:
                yield await running
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                running = None  # else its exception, this frame and it would hold each other

    async def _parse(self, chunk: list[bytes | None], *, first_index: int) -> list[_Entry]:
        entries: list[_Entry] = []
        turn = _Turn()
        for index, text in enumerate(chunk, start=first_index):
            await turn.give()
            entries.append(self._entry(index, text))
        return entries

    def _entry(self, index: int, text: bytes | None) -> _Entry:
        if text is None:
            limit = self._runtime.settings.max_line_bytes
            return _Entry(index, problem=Problem("body_too_large", f"an entry may have {limit} bytes at most"))
        try:
            user = parse(BatchUser, text)
        except Problem as problem:
            # Only what it says is wanted, not the frames that it came through.
            return _Entry(index, problem=problem.with_traceback(None))
        try:
            model = self._lineup.choose(user.model, user.user_id)
        except ModelUnknown as error:
            return _Entry(index, user.user_id, problem=from_exception(error))
        query = user.query()
        try:
            require_askable(model, query, self._runtime.items.now)
        except Problem as problem:
            return _Entry(index, user.user_id, problem=problem.with_traceback(None))
        return _Entry(index, user.user_id, query, model, named=user.model is not None)

    async def _answer(self, entries: list[_Entry], *, patient: bool) -> bytes:
        certain = await self._runtime.guard.refresh()
        answers: dict[int, Answer] = {}
        for model in {entry.model.id: entry.model for entry in entries if entry.model}.values():
            asked = [entry for entry in entries if entry.model is model and entry.query is not None]
            asked = self._with_lists(model, asked)
            queries = [entry.query for entry in asked if entry.query is not None]
            queries = await informed(self._runtime, model, queries, certain=certain)
            for entry, query in zip(asked, queries, strict=True):
                entry.query = query
            found = await self._ask(model, queries, patient=patient)
            answers.update((entry.index, answer) for entry, answer in zip(asked, found, strict=True))
        lines: list[bytes] = []
        turn = _Turn()
        for entry in entries:
            await turn.give()
            lines.append(self._line(entry, answers.get(entry.index)))
        return b"".join(lines)

    def _with_lists(self, model: Model, entries: list[_Entry]) -> list[_Entry]:
        """``entries`` without those whose list of items was removed since they were parsed; these get a problem."""
        for entry in entries:
            if entry.query is not None and entry.query.filter is not None and entry.query.filter.list is not None:
                try:
                    require_askable(model, entry.query, self._runtime.items.now)
                except Problem as problem:
                    entry.problem, entry.query = problem.with_traceback(None), None
        return [entry for entry in entries if entry.query is not None]

    async def _ask(self, model: Model, queries: list[Query], *, patient: bool) -> list[Answer]:
        """Answers for one chunk. A batch that has begun waits for room; one that has not is refused like any other."""
        while True:
            if patient:
                await self._runtime.batcher.room(len(queries))
            try:
                return (await self._runtime.batcher.recommend(model.recommender, queries)).result
            except QueueFull as full:
                if not patient:
                    raise
                await asyncio.sleep(full.retry_after / 10)

    def _line(self, entry: _Entry, answer: Answer | None) -> bytes:
        content: dict[str, Any] = {"index": entry.index, "user_id": entry.user_id}
        problem = entry.problem
        if isinstance(answer, Recommendation) and entry.model is not None and entry.query is not None:
            content |= list_content(answer, entry.model)
            content["recommendation_id"] = self._runtime.feedback.ids.issue(
                self._lineup,
                entry.model,
                named=entry.named,
                user_id=entry.query.user_id if entry.query.personalise else None,
            )
            if self._counted:
                self._runtime.metrics.count_answer(answer.strategy, answer.fallback_reason)
        elif entry.query is not None:
            problem = user_unknown(entry.query)
        if problem is not None:
            content["error"] = {
                "code": problem.code,
                "status": problem.status,
                "detail": problem.detail,
                "errors": [error.model_dump() for error in problem.errors],
            }
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _parts(entries: list[_Entry]) -> list[list[_Entry]]:
    """``entries`` in pieces that others need not wait for long: of explained lists, few."""
    parts: list[list[_Entry]] = [[]]
    explained = 0
    for entry in entries:
        explained += entry.query is not None and entry.query.explain
        if explained > EXPLAINED_AT_ONCE:
            parts.append([])
            explained = 1
        parts[-1].append(entry)
    return parts


async def _chunks(
    entries: AsyncIterator[bytes | None], rows: int
) -> AsyncIterator[tuple[list[bytes | None], Problem | None]]:
    """Up to ``rows`` entries at a time; with the last ones, the problem that ended the body early, if any."""
    chunk: list[bytes | None] = []
    try:
        async for entry in entries:
            chunk.append(entry)
            if len(chunk) == rows:
                yield chunk, None
                chunk = []
    except Problem as problem:
        yield chunk, problem
        return
    if chunk:
        yield chunk, None
