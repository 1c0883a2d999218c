"""Admission, micro-batches and deadlines in front of one engine thread.

All bookkeeping happens on the event loop; the thread only computes. So there is nothing to lock, and a batch
is formed at the moment the engine is free, from whatever is waiting and still wanted:

    admit (or QueueFull) -> wait -> form: leave out cancelled and expired jobs -> compute -> deliver

Single requests and bulk chunks pass the same door and are counted by rows (users), not by requests. Beside it is
an idle lane: its jobs run one at a time, only when nothing else waits, and may find no room.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from diffcdr.recommend.recommender import Query
from service.engine.batch_time import Pace
from service.engine.jobs import Answer, DeadlineExceeded, Engine, Job, QueueFull, Timed, fail, run, watch
from service.metrics import Metrics

T = TypeVar("T")

SWEEP_SECONDS = 0.01
"""How often waiting jobs are looked at for a passed deadline or a client that has left."""
WATCH_AFTER_SECONDS = 0.02
"""Younger jobs are not watched for their client leaving: most are answered before the watch would pay."""
IDLE_JOBS = 64
"""Most jobs that may wait for the engine to have nothing else to do."""


@dataclass(slots=True)
class _Batch:
    jobs: list[Job]
    rows: int
    started: float = field(default_factory=time.perf_counter)


class Batcher:
    """Runs all work for the engine. Make it and use it on one event loop; :meth:`close` it when done."""

    def __init__(self, *, queue_rows: int, batch_rows: int, metrics: Metrics) -> None:
        """``queue_rows``: rows that may wait; ``batch_rows``: rows computed together, at most."""
        self._queue_rows = queue_rows
        self._batch_rows = batch_rows
        self._metrics = metrics
        self._pace = Pace()
        self._waiting: deque[Job] = deque()
        self._waiting_rows = 0
        self._idle: deque[Job] = deque()
        self._running: _Batch | None = None
        self._room = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows admitted and not yet computing."""
        return self._waiting_rows

    @property
    def busy_seconds(self) -> float:
        """How long the running computation has been running; 0 when idle."""
        return time.perf_counter() - self._running.started if self._running else 0.0

    def retry_after(self) -> int:
        """Whole seconds until the present work should be done, at least 1."""
        return max(1, math.ceil(self._pace.seconds(rows=self._rows_ahead(), batch_rows=self._batch_rows)))

    async def recommend(
        self,
        engine: Engine,
        queries: Sequence[Query],
        *,
        timeout: float = math.inf,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Timed[list[Answer]]:
        """Answer ``queries``, in one batch with other waiting queries.

        Args:
            engine: what to compute with; jobs of different engines never share a batch.
            queries: 1 to ``queue_rows`` of them.
            timeout: seconds until nobody wants the answer.
            gone: returns once the client has left; awaited only for jobs that take long, in the queue or the engine.

        Raises:
            QueueFull: too many rows are waiting, or the deadline cannot be met.
            DeadlineExceeded, ClientLeft: while waiting or computing.
        """
        job = self._admit(engine, len(queries), timeout=timeout)
        job.queries, job.gone = queries, gone
        answers: Timed[list[Answer]] = await self._wait(job)
        return answers

    async def compute(self, engine: Engine, call: Callable[[], T], *, rows: int, timeout: float = math.inf) -> Timed[T]:
        """Run ``call()`` on the engine thread, counted as ``rows`` rows. Raises as :meth:`recommend`."""
        job = self._admit(engine, rows, timeout=timeout)
        job.call = call
        result: Timed[T] = await self._wait(job)
        return result

    def when_idle(self, engine: Engine, query: Query) -> asyncio.Future[Timed[list[Answer]]] | None:
        """Answer ``query`` once nothing else waits; None where too many such jobs wait already.

        Whatever is admitted meanwhile goes first, and has at most this one row to wait for.
        """
        if len(self._idle) >= IDLE_JOBS:
            return None
        job = Job(engine, 1, asyncio.get_running_loop().create_future(), time.perf_counter(), queries=(query,))
        self._idle.append(job)
        self._schedule_pump()
        return job.future

    async def room(self, rows: int) -> None:
        """Wait until half the queue is free of ``rows`` more, so that bulk work leaves room for single requests."""
        while self._waiting_rows and self._waiting_rows + rows > self._queue_rows // 2:
            self._room.clear()
            await self._room.wait()

    async def close(self) -> None:
        """Finish the running batch, fail what waits, and end the thread."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for job in (*self._waiting, *self._idle):
            fail(job, QueueFull(1))
        self._waiting.clear()
        self._idle.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown()

    def _rows_ahead(self) -> int:
        return self._waiting_rows + (self._running.rows if self._running else 0)

    def _admit(self, engine: Engine, rows: int, *, timeout: float) -> Job:
        """Take in a job of ``rows`` rows, or refuse it before it costs anything."""
        ahead = self._rows_ahead()
        expected = self._pace.seconds(rows=ahead + rows, batch_rows=self._batch_rows) if ahead else 0.0
        # An empty queue takes any job, so that one larger than the queue is not refused for ever.
        if (self._waiting_rows and self._waiting_rows + rows > self._queue_rows) or expected > timeout:
            self._metrics.shed_rows.inc(rows)
            raise QueueFull(self.retry_after())
        self._metrics.admitted_rows.inc(rows)
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        return Job(engine, rows, loop.create_future(), now, deadline=now + timeout)

    async def _wait(self, job: Job) -> Any:
        self._waiting.append(job)
        self._waiting_rows += job.rows
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._schedule_pump()
        try:
            return await job.future
        finally:
            if job.watch is not None:
                job.watch.cancel()

    def _schedule_pump(self) -> None:
        """Form the next batch once this turn of the loop is over: requests that arrived together go together."""
        if not self._pump_scheduled and self._running is None:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self._running is not None:
            return
        jobs = self._form() or ([self._idle.popleft()] if self._idle else [])
        if jobs:
            self._running = _Batch(jobs, sum(job.rows for job in jobs))
            task = asyncio.get_running_loop().create_task(self._compute(self._running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _form(self) -> list[Job]:
        """The next batch: jobs from the front of the queue that somebody still waits for."""
        self._drop_unwanted()
        jobs: list[Job] = []
        rows = 0
        while self._waiting and (not jobs or self._fits(self._waiting[0], jobs[0], rows)):
            job = self._waiting.popleft()
            self._waiting_rows -= job.rows
            jobs.append(job)
            rows += job.rows
        self._room.set()
        self._metrics.queue_rows.set(self._waiting_rows)
        return jobs

    def _fits(self, job: Job, first: Job, rows: int) -> bool:
        """Whether ``job`` may join a batch of ``rows`` rows that began with ``first``."""
        mergeable = job.call is None and first.call is None and job.engine is first.engine
        return mergeable and rows + job.rows <= self._batch_rows

    def _drop_unwanted(self) -> None:
        """Take out of the queue what is past its deadline or whose caller has stopped waiting."""
        now = time.perf_counter()
        unwanted = False
        for job in self._waiting:
            if job.deadline <= now and not job.future.done():
                job.future.set_exception(DeadlineExceeded())
            unwanted = unwanted or job.future.done()
        if not unwanted:
            return
        for job in self._waiting:
            if job.future.done():
                expired = not job.future.cancelled() and isinstance(job.future.exception(), DeadlineExceeded)
                self._metrics.dropped_rows.labels("deadline" if expired else "cancelled").inc(job.rows)
        self._waiting = deque(job for job in self._waiting if not job.future.done())
        self._waiting_rows = sum(job.rows for job in self._waiting)
        self._room.set()

    async def _compute(self, batch: _Batch) -> None:
        try:
            outcomes, stages = await asyncio.get_running_loop().run_in_executor(self._thread, run, batch.jobs)
        finally:
            self._running = None
            self._schedule_pump()
        seconds = time.perf_counter() - batch.started
        self._count(batch, seconds)
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                fail(job, outcome)
            elif not job.future.done():
                queued = batch.started - job.admitted
                job.future.set_result(Timed(outcome, queued=queued, computed=seconds, stages=stages))

    def _count(self, batch: _Batch, seconds: float) -> None:
        self._pace.add(rows=batch.rows, seconds=seconds)
        self._metrics.batch_rows.observe(batch.rows)
        self._metrics.engine_seconds.observe(seconds)
        self._metrics.engine_rows.inc(batch.rows)
        self._metrics.queue_seconds.observe(batch.started - batch.jobs[0].admitted)

    async def _sweep(self) -> None:
        """While anything waits or computes: fail what is too late, and watch the clients of what takes long."""
        while self._waiting or self._running is not None:
            await asyncio.sleep(SWEEP_SECONDS)
            self._drop_unwanted()
            now = time.perf_counter()
            running = self._running.jobs if self._running else ()
            for job in running:
                if job.deadline <= now:
                    fail(job, DeadlineExceeded())
            for job in (*self._waiting, *running):
                if job.gone is not None and job.watch is None and now - job.admitted > WATCH_AFTER_SECONDS:
                    job.watch = asyncio.get_running_loop().create_task(watch(job, job.gone))
