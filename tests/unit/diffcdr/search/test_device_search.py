"""The search with its float32 part elsewhere gives the lists of the exact search; the graph runs on the CPU here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diffcdr.search.device_search
from diffcdr.bundle.reader import open_bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.errors import DeviceError
from diffcdr.recommend.recommender import Query, Recommender
from diffcdr.search.device_graph import BlockShape
from diffcdr.search.device_search import NEVER, DeviceTopK
from diffcdr.search.topk import MaskedRows, TopK
from tests.bundles import write_bundle
from tests.gpu_stand_in import GPU, GpuStandIn
from tests.unit.diffcdr.search.test_topk import problems

Problem = tuple[np.ndarray, np.ndarray, np.ndarray, int, list[list[int]]]


def searches(
    vectors: np.ndarray, biases: np.ndarray, offset: float = 0.0, *, compiled: bool = False
) -> tuple[TopK, DeviceTopK, DeviceHealth]:
    exact, health = TopK(vectors, biases, offset=offset), DeviceHealth()
    there = DeviceTopK(exact, (vectors, biases), GPU, health=health, sample=vectors[:1], forced=True)
    if compiled:
        there.compile()
    return exact, there, health


@pytest.mark.parametrize("compiled", [False, True])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), offset=st.sampled_from([0.0, 3.5]))
def test_lists_are_those_of_the_exact_search(
    gpu: GpuStandIn,
    compiled: bool,
    problem: tuple[np.ndarray, np.ndarray, np.ndarray, int, list[list[int]]],
    offset: float,
) -> None:
    """Ties, masks, users at both ends of float32, lists longer than there are items."""
    vectors, biases, users, k, masked = problem
    exact, there, health = searches(vectors, biases, offset, compiled=compiled)
    rows = MaskedRows.pack([np.array(each, dtype=np.int32) for each in masked])
    for mask in (None, rows):
        with np.errstate(over="ignore", invalid="ignore"):
            found, expected = there.search(users, k, masked=mask), exact.search(users, k, masked=mask)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1].tobytes() == expected[1].tobytes()
    assert health.lost is None
    assert health.count("memory") == 0


def test_chunks_of_users_are_put_together(gpu: GpuStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffcdr.search.device_search, "SCORES_AT_ONCE", 1)
    rng = np.random.default_rng(3)
    vectors, users = (rng.standard_normal((n, 5)).astype(np.float32) for n in (3_000, 50))
    exact, there, _ = searches(vectors, np.zeros(3_000, dtype=np.float32))
    assert there.chunk < len(users)
    masked = MaskedRows.pack([rng.integers(0, 3_000, 40).astype(np.int32) for _ in users])
    for mask in (None, masked):
        for found, expected in zip(
            there.search(users, 20, masked=mask), exact.search(users, 20, masked=mask), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_only_users_for_whom_it_cannot_be_promised_are_searched_exactly(
    gpu: GpuStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((2_000, 4)).astype(np.float32)
    users = np.concatenate([rng.standard_normal((5, 4)), np.zeros((1, 4))]).astype(np.float32)  # all items tie for zero
    exact, there, _ = searches(vectors, np.zeros(2_000, dtype=np.float32))
    asked: list[int] = []
    search = exact.search
    monkeypatch.setattr(exact, "search", lambda users, k, masked=None: (asked.append(len(users)), search(users, k))[1])
    rows, _ = there.search(users, 20)
    np.testing.assert_array_equal(rows, search(users, 20)[0])
    assert asked == [1]


def test_a_gpu_that_fails_is_replaced_by_the_processor(gpu: GpuStandIn) -> None:
    rng = np.random.default_rng(5)
    vectors, users = (rng.standard_normal((n, 4)).astype(np.float32) for n in (500, 9))
    exact, there, health = searches(vectors, np.zeros(500, dtype=np.float32))
    gpu.fails = "out of memory"
    np.testing.assert_array_equal(there.search(users, 20)[0], exact.search(users, 20)[0])
    gpu.fails = "CUDA failure 719: unspecified launch failure"
    np.testing.assert_array_equal(there.search(users, 20)[0], exact.search(users, 20)[0])
    runs = gpu.runs
    there.search(users, 20)
    assert (gpu.runs, health.count("memory"), health.count("lost")) == (runs, 1, 1)


@pytest.mark.parametrize(("here", "there", "fewest"), [(1.0, 2.0, NEVER), (2.0, 1.0, 1)])
def test_the_faster_one_is_measured(
    gpu: GpuStandIn, monkeypatch: pytest.MonkeyPatch, here: float, there: float, fewest: int
) -> None:
    clock = [0.0]
    monkeypatch.setattr("diffcdr.search.device_search.time.perf_counter", lambda: clock[0])
    for kind, name, seconds in ((TopK, "search", here), (DeviceTopK, "_search", there)):
        real = getattr(kind, name)

        def timed(self, *arguments, real=real, seconds=seconds, **named):  # type: ignore[no-untyped-def]
            clock[0] += seconds
            return real(self, *arguments, **named)

        monkeypatch.setattr(kind, name, timed)
    vectors = np.random.default_rng(6).standard_normal((300, 4)).astype(np.float32)
    exact = TopK(vectors, np.zeros(300, dtype=np.float32))
    search = DeviceTopK(exact, (vectors, np.zeros(300, dtype=np.float32)), GPU, health=DeviceHealth(), sample=vectors)
    assert search.fewest == fewest
    assert search.device == ("cpu" if fewest == NEVER else "cuda:0")


def test_blocks_cover_all_items() -> None:
    for items in (1, 7, 64_443, 1_000_000, 10_000_000):
        shape = BlockShape.of(items, 10)
        assert shape.columns >= items
        assert shape.columns - items < shape.deep
        assert shape.width == 12
    assert BlockShape.of(64_443, 10).deep in (32, 64)


def test_a_recommender_searches_there_where_it_must(gpu: GpuStandIn, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", items=300)
    here = Recommender(open_bundle(tmp_path / "b"), device="cpu")
    there = Recommender(open_bundle(tmp_path / "b"), device="auto", search_device="cuda")
    assert (here.search_device, there.search_device) == ("cpu", "cuda:0")
    queries = [Query(f"u{user:05}", k=7) for user in range(40)] + [Query(None, history=(("s00001", 4.0),))]
    assert there.answer(queries) == here.answer(queries)
    assert Recommender(open_bundle(tmp_path / "b"), device="auto").search_device == "cpu"  # too few items to ask


def test_no_room_for_the_items_is_told_before_the_first_request(gpu: GpuStandIn, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", items=300)
    gpu.fails = "Failed to allocate memory for requested buffer of size 80000000"
    with pytest.raises(DeviceError, match=r"300 items x 6 .* make room there, or search on the CPU"):
        Recommender(open_bundle(tmp_path / "b"), search_device="cuda")
