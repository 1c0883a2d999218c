"""The batcher against an engine whose pace the test holds in its hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.recommend.recommender import Query, Recommendation
from service.engine.batcher import Batcher
from service.engine.jobs import Answer, ClientLeft, DeadlineExceeded, QueueFull
from service.metrics import Metrics
from tests.waiting import LIMIT_SECONDS, async_elapse, async_until, turns


class Engine:
    """Answers each user with their own id. Calls wait for ``open`` and are written down."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.calls: list[list[str | None]] = []

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        self.calls.append([query.user_id for query in queries])
        assert self.open.wait(LIMIT_SECONDS)
        if any(query.user_id == "poison" for query in queries):
            raise RuntimeError("poisoned")
        return [Recommendation([str(query.user_id)], [0.0], [None], "transfer", None) for query in queries]

    @property
    def users(self) -> list[str | None]:
        return [user for call in self.calls for user in call]


def users(*names: str) -> list[Query]:
    return [Query(name) for name in names]


def items(answers: Sequence[Answer]) -> list[str]:
    return [answer.item_ids[0] for answer in answers if isinstance(answer, Recommendation)]


def value(metrics: Metrics, name: str, labels: dict[str, str] | None = None) -> float:
    return metrics.registry.get_sample_value(name, labels or {}) or 0.0


def run(
    body: Callable[[Batcher, Engine, Metrics], Awaitable[None]], *, queue_rows: int = 100, batch_rows: int = 8
) -> None:
    async def main() -> None:
        metrics = Metrics()
        engine = Engine()
        batcher = Batcher(queue_rows=queue_rows, batch_rows=batch_rows, metrics=metrics)
        try:
            await asyncio.wait_for(body(batcher, engine, metrics), LIMIT_SECONDS)
        finally:
            engine.open.set()
            await batcher.close()

    asyncio.run(main())


async def occupy(batcher: Batcher, engine: Engine) -> asyncio.Task[object]:
    """Close the gate and let one job run into it."""
    engine.open.clear()
    task: asyncio.Task[object] = asyncio.create_task(batcher.recommend(engine, users("first")))
    await async_until(lambda: engine.calls)
    return task


def test_what_waits_while_the_engine_is_busy_is_computed_together() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        others = [asyncio.create_task(batcher.recommend(engine, users(name))) for name in "abc"]
        await async_until(lambda: batcher.waiting_rows == 3)
        engine.open.set()
        assert [items((await task).result) for task in others] == [["a"], ["b"], ["c"]]
        await first
        assert engine.calls == [["first"], ["a", "b", "c"]]
        assert value(metrics, "diffcdr_engine_rows_total") == 4

    run(body)


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_every_caller_gets_its_own_answers_and_batches_stay_within_the_limit(sizes: list[int]) -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        wanted = [[f"{job}.{row}" for row in range(size)] for job, size in enumerate(sizes)]
        answers = await asyncio.gather(*(batcher.recommend(engine, users(*names)) for names in wanted))
        assert [items(answer.result) for answer in answers] == wanted
        # A job larger than the limit is never cut; it computes alone.
        assert all(len(call) <= 8 or len({str(user).split(".")[0] for user in call}) == 1 for call in engine.calls)

    run(body, queue_rows=1000)


def test_work_that_nobody_waits_for_is_not_done() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        left = asyncio.create_task(batcher.recommend(engine, users("left")))
        stays = asyncio.create_task(batcher.recommend(engine, users("stays")))
        await async_until(lambda: batcher.waiting_rows == 2)
        left.cancel()
        # A cancelled job gives its room back before its turn comes.
        await async_until(lambda: batcher.waiting_rows == 1)
        engine.open.set()
        await asyncio.gather(first, stays)
        assert engine.users == ["first", "stays"]
        assert value(metrics, "diffcdr_dropped_rows_total", {"why": "cancelled"}) == 1

    run(body)


def test_a_passed_deadline_ends_the_wait_and_nothing_is_computed() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        with pytest.raises(DeadlineExceeded):
            await batcher.recommend(engine, users("late"), timeout=0.03)
        engine.open.set()
        await first
        assert engine.users == ["first"]
        assert value(metrics, "diffcdr_dropped_rows_total", {"why": "deadline"}) == 1

    run(body)


def test_a_deadline_that_passes_while_computing_ends_the_wait_too() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        engine.open.clear()
        with pytest.raises(DeadlineExceeded):
            await batcher.recommend(engine, users("slow"), timeout=0.03)

    run(body)


def test_a_client_that_leaves_while_waiting_is_noticed() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        left = asyncio.Event()

        async def gone() -> None:
            await left.wait()

        task = asyncio.create_task(batcher.recommend(engine, users("left"), gone=gone))
        await async_until(lambda: batcher.waiting_rows == 1)
        assert not task.done()
        left.set()
        with pytest.raises(ClientLeft):
            await task
        engine.open.set()
        await first
        assert engine.users == ["first"]

    run(body)


def test_a_client_that_leaves_what_is_being_computed_is_noticed() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        async def gone() -> None:
            await left.wait()

        left = asyncio.Event()
        engine.open.clear()
        tasks = [asyncio.create_task(batcher.recommend(engine, users(name), gone=gone)) for name in ("one", "other")]
        await async_until(lambda: engine.calls == [["one", "other"]])
        left.set()
        for task in tasks:
            with pytest.raises(ClientLeft):
                await task
        assert batcher.busy_seconds > 0

    run(body)


def test_admission_counts_rows_and_is_decided_before_waiting() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        fits = asyncio.create_task(batcher.recommend(engine, users("a", "b", "c")))
        await async_until(lambda: batcher.waiting_rows == 3)
        with pytest.raises(QueueFull) as refused:
            await batcher.recommend(engine, users("d", "e"))
        assert refused.value.retry_after >= 1
        one_more = asyncio.create_task(batcher.recommend(engine, users("f")))
        engine.open.set()
        await asyncio.gather(first, fits, one_more)
        assert sorted(map(str, engine.users)) == ["a", "b", "c", "f", "first"]
        assert value(metrics, "diffcdr_shed_rows_total") == 2
        assert value(metrics, "diffcdr_admitted_rows_total") == 5

    run(body, queue_rows=4)


def test_a_job_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        names = [str(row) for row in range(50)]
        assert items((await batcher.recommend(engine, users(*names))).result) == names

    run(body, queue_rows=4)


def test_what_would_miss_its_deadline_is_refused_at_the_door() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        # Teach it that a row takes long.
        first = await occupy(batcher, engine)
        await async_elapse(0.2)
        engine.open.set()
        await first
        second = await occupy_again(batcher, engine)
        with pytest.raises(QueueFull):
            await batcher.recommend(engine, users("hopeless"), timeout=0.05)
        engine.open.set()
        await second

    async def occupy_again(batcher: Batcher, engine: Engine) -> asyncio.Task[object]:
        engine.calls.clear()
        return await occupy(batcher, engine)

    run(body)


def test_one_bad_job_does_not_fail_its_neighbours() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        tasks = [asyncio.create_task(batcher.recommend(engine, users(name))) for name in ("a", "poison", "b")]
        await async_until(lambda: batcher.waiting_rows == 3)
        engine.open.set()
        done = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert isinstance(done[2], RuntimeError)
        assert [items(answer.result) for answer in (done[1], done[3])] == [["a"], ["b"]]

    run(body)


def test_jobs_of_different_engines_never_share_a_batch() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        other = Engine()
        first = await occupy(batcher, engine)
        tasks = [
            asyncio.create_task(batcher.recommend(used, users(name)))
            for used, name in ((engine, "a"), (other, "b"), (engine, "c"))
        ]
        await async_until(lambda: batcher.waiting_rows == 3)
        engine.open.set()
        await asyncio.gather(first, *tasks)
        assert engine.calls == [["first"], ["a"], ["c"]]
        assert other.calls == [["b"]]

    run(body)


def test_a_call_runs_alone_on_the_engine_thread() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        names = await asyncio.gather(
            *(batcher.compute(engine, lambda: threading.current_thread().name, rows=3) for _ in range(2))
        )
        assert {timed.result for timed in names} == {"engine_0"}
        assert value(metrics, "diffcdr_batch_rows_count") == 2
        assert value(metrics, "diffcdr_engine_rows_total") == 6

    run(body)


def test_bulk_work_waits_for_half_a_queue() -> None:
    async def body(batcher: Batcher, engine: Engine, metrics: Metrics) -> None:
        first = await occupy(batcher, engine)
        waiting = [asyncio.create_task(batcher.recommend(engine, users(name))) for name in "abc"]
        await async_until(lambda: batcher.waiting_rows == 3)
        room = asyncio.create_task(batcher.room(3))
        await turns()
        assert not room.done()
        engine.open.set()
        await asyncio.gather(first, room, *waiting)

    run(body, queue_rows=10)


def test_closing_fails_what_waits_and_lets_what_runs_finish() -> None:
    async def main() -> None:
        engine = Engine()
        batcher = Batcher(queue_rows=10, batch_rows=4, metrics=Metrics())
        first = await occupy(batcher, engine)
        waiting = asyncio.create_task(batcher.recommend(engine, users("waiting")))
        await async_until(lambda: batcher.waiting_rows == 1)
        closing = asyncio.create_task(batcher.close())
        with pytest.raises(QueueFull):
            await waiting
        engine.open.set()
        await closing
        await first
        assert engine.users == ["first"]

    asyncio.run(main())
