"""Shadow traffic against engines whose pace the test holds in its hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from diffcdr.recommend.recommender import Query, Recommendation
from service.bundles.registry import Lineup
from service.bundles.traffic_split import Traffic
from service.engine.batcher import IDLE_JOBS, Batcher
from service.engine.shadow import Shadow
from service.metrics import Metrics
from tests.bundles import write_bundle
from tests.serving import gated_model
from tests.waiting import async_until, turns

USERS = [f"u{row:05d}" for row in range(200)]


def counted(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("diffcdr_shadow_requests_total", {"outcome": outcome}) or 0.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles")
    for seed in range(2):
        write_bundle(path / str(seed), seed=seed, users=500)
    return path


async def ask(batcher: Batcher, shadow: Shadow, lineup: Lineup, *queries: Query) -> None:
    """Answer each of ``queries`` from the stable model and show it to ``shadow``."""
    for query in queries:
        (answer,) = (await batcher.recommend(lineup.stable.recommender, [query])).result
        assert isinstance(answer, Recommendation)
        shadow.observe(lineup, lineup.stable, query=query, answer=answer)


async def idle(batcher: Batcher, metrics: Metrics, expected: int) -> None:
    await async_until(
        lambda: sum(counted(metrics, outcome) for outcome in ("compared", "dropped", "failed")) >= expected
    )


@pytest.mark.parametrize("percent", [0.0, 12.5, 50.0, 100.0])
def test_exactly_the_share_is_computed_again_and_nobody_who_opted_out(root: Path, percent: float) -> None:
    async def main() -> None:
        (stable, _), (other, gate) = gated_model(root / "0"), gated_model(root / "1")
        traffic = Traffic(shadow=other.id, shadow_percent=percent)
        lineup = Lineup(stable, traffic=traffic, models={stable.id: stable, other.id: other})
        metrics = Metrics()
        batcher = Batcher(queue_rows=100, batch_rows=8, metrics=metrics)
        shadow = Shadow(batcher, metrics)
        expected = int(len(USERS) * percent / 100)
        # A few at a time, so that the idle lane never fills.
        for start in range(0, len(USERS), 40):
            await ask(batcher, shadow, lineup, *map(Query, USERS[start : start + 40]))
            await idle(batcher, metrics, int((start + 40) * percent / 100))
        await ask(batcher, shadow, lineup, *(Query(user, personalise=False) for user in USERS))
        # What waited for an idle engine would have had its turn behind one of these.
        for user in USERS[:3]:
            await batcher.recommend(stable.recommender, [Query(user)])
            await turns()
        assert len(gate.users) == expected == counted(metrics, "compared")
        assert metrics.registry.get_sample_value("diffcdr_shadow_overlap_count") == expected
        assert all(len(call) == 1 for call in gate.calls), "stable work has one row to wait for at most"
        await batcher.close()

    asyncio.run(main())


def test_a_bundle_agrees_with_itself_to_the_last_item(root: Path) -> None:
    async def main() -> None:
        stable, _ = gated_model(root / "0")
        lineup = Lineup(stable, traffic=Traffic(shadow=stable.id, shadow_percent=100), models={stable.id: stable})
        metrics = Metrics()
        batcher = Batcher(queue_rows=100, batch_rows=8, metrics=metrics)
        queries = [Query("u00001", k=3), Query("u00002", k=60), Query("stranger"), Query("u00003", k=1)]
        await ask(batcher, Shadow(batcher, metrics), lineup, *queries)
        await idle(batcher, metrics, len(queries))
        assert metrics.registry.get_sample_value("diffcdr_shadow_overlap_sum") == len(queries)
        await batcher.close()

    asyncio.run(main())


def test_a_full_lane_drops_and_stable_work_goes_first(root: Path) -> None:
    async def main() -> None:
        (stable, first), (other, gate) = gated_model(root / "0"), gated_model(root / "1")
        traffic = Traffic(shadow=other.id, shadow_percent=100)
        lineup = Lineup(stable, traffic=traffic, models={stable.id: stable, other.id: other})
        metrics = Metrics()
        batcher = Batcher(queue_rows=1000, batch_rows=1, metrics=metrics)
        shadow = Shadow(batcher, metrics)
        (answer,) = (await batcher.recommend(stable.recommender, [Query(USERS[0])])).result
        assert isinstance(answer, Recommendation)
        begun: list[int] = []

        class Noting(list[list[str | None]]):
            def append(self, call: list[str | None]) -> None:
                begun.append(len(first.calls))
                super().append(call)

        gate.calls = Noting()
        with first.held():
            waiting = [asyncio.create_task(batcher.recommend(stable.recommender, [Query(user)])) for user in USERS]
            await async_until(lambda: batcher.waiting_rows == len(USERS) - 1)
            for user in USERS:
                shadow.observe(lineup, stable, query=Query(user), answer=answer)
            assert counted(metrics, "dropped") == len(USERS) - IDLE_JOBS
        await asyncio.gather(*waiting)
        await idle(batcher, metrics, len(USERS))
        assert gate.users == USERS[:IDLE_JOBS]
        assert set(begun) == {1 + len(USERS)}, "not before all stable work has begun"
        await batcher.close()

    asyncio.run(main())


def test_a_shadow_that_fails_is_counted_and_harms_nobody(root: Path) -> None:
    async def main() -> None:
        (stable, _), (other, _) = gated_model(root / "0"), gated_model(root / "1")
        traffic = Traffic(shadow=other.id, shadow_percent=100)
        lineup = Lineup(stable, traffic=traffic, models={stable.id: stable, other.id: other})
        metrics = Metrics()
        batcher = Batcher(queue_rows=100, batch_rows=8, metrics=metrics)
        shadow = Shadow(batcher, metrics)
        (answer,) = (await batcher.recommend(stable.recommender, [Query("u00001")])).result
        assert isinstance(answer, Recommendation)
        shadow.observe(lineup, stable, query=Query("poison"), answer=answer)
        await idle(batcher, metrics, 1)
        assert counted(metrics, "failed") == 1
        await ask(batcher, shadow, lineup, Query("u00001"))
        await batcher.close()

    asyncio.run(main())
