"""The approximate search beside the exact one: equal where it may be, never worse than it says, never by company."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffcdr.search.approximate
import diffcdr.search.build_index
from diffcdr.bundle.manifest import SearchSpec
from diffcdr.errors import BundleError, InputError, MissingExtraError
from diffcdr.search.approximate import ApproximateTopK, check_recall
from diffcdr.search.build_index import build_index, recall_of
from diffcdr.search.topk import MaskedRows, TopK

Float32Array = npt.NDArray[np.float32]


def both(
    vectors: Float32Array, biases: Float32Array, users: Float32Array, *, floor: float = 0.0
) -> tuple[TopK, ApproximateTopK]:
    content, spec = build_index(vectors, biases, users, offset=0.5, floor=floor)
    exact = TopK(vectors, biases, offset=0.5)
    return exact, ApproximateTopK(exact, content, spec)


@pytest.fixture(scope="module")
def plain() -> tuple[TopK, ApproximateTopK, Float32Array]:
    """6,000 items that differ, 200 users."""
    rng = np.random.default_rng(3)
    vectors, users = (rng.standard_normal((rows, 8)).astype(np.float32) for rows in (6_000, 200))
    return *both(vectors, rng.standard_normal(6_000).astype(np.float32), users, floor=0.97), users


@pytest.fixture
def few_candidates() -> Iterator[None]:
    """Fewer than in earnest, so that small catalogues use their lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcdr.search.approximate, "FEWEST_CANDIDATES", 8)
        patch.setattr(diffcdr.search.approximate, "SPARE", 2)
        yield


@pytest.mark.usefixtures("few_candidates")
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_found_has_its_exact_score_and_place_and_nothing_excluded_is_found(data: st.DataObject) -> None:
    items, dim, users = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    coarse = data.draw(st.booleans())
    scale = data.draw(st.sampled_from([1.0, 1e-30, 1e19, 1e38]))

    def values(*shape: int) -> Float32Array:
        drawn = rng.integers(-1, 2, shape) if coarse else rng.standard_normal(shape)
        return np.clip(drawn * scale, -3e38, 3e38).astype(np.float32)

    exact, approximate = both(values(items, dim), values(items), queries := values(users, dim))
    k = data.draw(st.sampled_from([1, 3, 20, items, items + 5]))
    masks = [rng.integers(0, items, data.draw(st.sampled_from([0, 2, 30, items]))) for _ in range(users)]
    masked = MaskedRows.pack(masks)
    rows, scores = approximate.search(queries, k, masked=masked)
    best, best_scores = exact.search(queries, k, masked=masked)
    for user in range(users):
        there = rows[user] >= 0
        assert np.count_nonzero(there) == np.count_nonzero(best[user] >= 0)
        found = rows[user][there]
        assert len(set(found.tolist())) == len(found)
        assert not set(found.tolist()) & set(masks[user].tolist())
        assert scores[user][there].tolist() == exact.score(queries[user], found).tolist()
        order = np.lexsort((found, -scores[user][there]))
        assert order.tolist() == list(range(len(found)))
        assert (scores[user] <= best_scores[user]).all()
        if rows[user].tolist() == best[user].tolist():
            assert scores[user].tobytes() == best_scores[user].tobytes()


def test_a_user_gets_the_same_list_in_any_company(plain: tuple[TopK, ApproximateTopK, Float32Array]) -> None:
    _, approximate, users = plain
    rng = np.random.default_rng(4)
    masks = [rng.integers(0, 6_000, size).astype(np.int32) for size in rng.choice([0, 3, 90, 900], len(users))]
    rows, scores = approximate.search(users, 20, masked=MaskedRows.pack(masks))
    for i in range(0, len(users), 7):
        alone = approximate.search(users[i : i + 1], 20, masked=MaskedRows.pack(masks[i : i + 1]))
        assert alone[0].tobytes() == rows[i].tobytes()
        assert alone[1].tobytes() == scores[i].tobytes()


def test_recall_is_what_is_measured(plain: tuple[TopK, ApproximateTopK, Float32Array]) -> None:
    exact, approximate, users = plain
    best, _ = exact.search(users, 20)
    found, _ = approximate.search(users, 20)
    shares = [len(set(a) & set(b)) / 20 for a, b in zip(best.tolist(), found.tolist(), strict=True)]
    assert recall_of(found, best) == pytest.approx(np.mean(shares))
    assert np.mean(shares) > 0.95


def test_masking_the_best_uncovers_the_next_best(plain: tuple[TopK, ApproximateTopK, Float32Array]) -> None:
    exact, approximate, users = plain
    best, _ = exact.search(users, 60)
    masked = MaskedRows.pack([row[:40] for row in best])
    found, _ = approximate.search(users, 20, masked=masked)
    assert recall_of(found, best[:, 40:]) > 0.95


def test_too_many_excluded_are_answered_exactly(plain: tuple[TopK, ApproximateTopK, Float32Array]) -> None:
    exact, approximate, users = plain
    best, _ = exact.search(users[:20], 2_100)
    masked = MaskedRows.pack(list(best))
    for mine, theirs in zip(
        approximate.search(users[:20], 20, masked=masked), exact.search(users[:20], 20, masked=masked), strict=True
    ):
        assert mine.tobytes() == theirs.tobytes()


def test_ties_that_go_on_beyond_the_candidates_are_answered_exactly() -> None:
    """Every item is as good as every other, so the first rows are the answer, whatever the graph led to."""
    users = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    _, approximate = both(np.ones((3_000, 3), dtype=np.float32), np.ones(3_000, dtype=np.float32), users)
    rows, _ = approximate.search(users, 20)
    assert rows.tolist() == [list(range(20))] * 5


def test_the_same_items_make_the_same_index_and_the_fewest_lists_that_are_enough_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diffcdr.search.build_index, "SHARES", (64, 4))
    rng = np.random.default_rng(5)
    vectors, users = (rng.standard_normal((rows, 6)).astype(np.float32) for rows in (3_000, 100))
    biases = np.zeros(3_000, dtype=np.float32)
    made = [build_index(vectors, biases, users, offset=0.0, floor=floor) for floor in (0.5, 0.5, 0.97)]
    assert made[0][0].tobytes() == made[1][0].tobytes() == made[2][0].tobytes()
    assert made[0][1] == made[1][1]
    assert made[0][1].probes < made[2][1].probes
    assert made[0][1].recall < 0.97 <= made[2][1].recall
    assert made[0][1].users == 100


def test_an_index_below_the_floor_is_not_made_and_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    vectors, users = (rng.standard_normal((rows, 32)).astype(np.float32) for rows in (4_000, 50))
    monkeypatch.setattr(diffcdr.search.build_index, "SHARES", (64,))
    with pytest.raises(InputError, match=r"below the floor of 0\.99, so nothing was published"):
        build_index(vectors, np.zeros(4_000, dtype=np.float32), users, offset=0.0, floor=0.99)
    spec = SearchSpec(kind="ivf", lists=256, probes=8, radius=1.0, recall=0.9, users=50)
    check_recall(spec, 0.9, bundle=Path("b"))
    check_recall(None, 1.0, bundle=Path("b"))
    with pytest.raises(BundleError, match=r"finds 0\.900 of the exact best 20, below the floor of 0\.95"):
        check_recall(spec, 0.95, bundle=Path("b"))


def test_what_is_no_index_of_these_items_is_refused() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((300, 4)).astype(np.float32)
    biases = np.zeros(300, dtype=np.float32)
    content, spec = build_index(vectors, biases, vectors[:10], offset=0.0, floor=0.0)
    with pytest.raises(BundleError, match="cannot be read"):
        ApproximateTopK(TopK(vectors, biases), content[: len(content) // 2].copy(), spec)
    with pytest.raises(BundleError, match="holds 300 items x 4 in 18 lists, not 299 x 4 in 18"):
        ApproximateTopK(TopK(vectors[:299], biases[:299]), content, spec)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    ones = np.ones((2, 2), dtype=np.float32)
    with pytest.raises(MissingExtraError, match=r"pip install 'diffcdr\[ann\]'"):
        build_index(ones, ones[0], ones, offset=0.0, floor=0.0)
