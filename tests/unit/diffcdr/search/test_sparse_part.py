"""Sparse plus dense search against the full product written out, in every way that the search has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffcdr.search.tiles
import diffcdr.search.topk
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart
from diffcdr.search.topk import MaskedRows, TopK

Float32Array = npt.NDArray[np.float32]
Case = tuple[Float32Array, Float32Array, Float32Array, SparsePart, int, list[list[int]]]


SMALL = {"BLOCK_ITEMS": 4, "TILE_BLOCKS": 4, "TILE_ITEMS": 16, "SCORES_IN_CACHE": 200, "FIRST_TILES": 2}


@pytest.fixture(params=["real tiles", "small tiles"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small tiles make a thousand items as many tiles as a million have."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items() if request.param == "small tiles" else ():
            patch.setattr(diffcdr.search.tiles, name, value)
        yield


def neighbours(rng: np.random.Generator, *, sources: int, items: int, width: int, power: float) -> Neighbours:
    """Up to ``width`` target items a source item, some source items without any, some without weight."""
    rows = [np.sort(rng.choice(items, rng.integers(0, min(width, items) + 1), replace=False)) for _ in range(sources)]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    weights = np.where(rng.random(sources) < 0.2, 0.0, rng.integers(1, 5, sources)).astype(np.float32)
    values = rng.integers(1, 4, indptr[-1]) if rng.random() < 0.5 else rng.random(indptr[-1]) * 3 + 1e-3
    return Neighbours(
        item_weights=weights,
        length_power=power,
        indptr=indptr.astype(np.int64),
        items=np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int32),
        values=values.astype(np.float32),
        n_items=items,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    items, users, sources = draw(st.integers(1, 900)), draw(st.integers(1, 6)), draw(st.integers(1, 12))
    dim = draw(st.sampled_from([1, 3, 33]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.0, 1.0, 1e-3, 1e15, 1e38]))  # 0: nothing but neighbours

    def values(*shape: int) -> Float32Array:
        drawn = rng.integers(-2, 3, shape) if draw(st.booleans()) else rng.standard_normal(shape)
        return np.clip(drawn * scale, -3e38, 3e38).astype(np.float32)

    table = neighbours(
        rng, sources=sources, items=items, width=draw(st.sampled_from([1, 40])), power=draw(st.sampled_from([0, 1, 2]))
    )
    sizes = [draw(st.sampled_from([0, 1, sources])) for _ in range(users)]
    histories = Histories.pack([np.sort(rng.choice(sources, size, replace=False)) for size in sizes])
    k = draw(st.sampled_from([1, 20, 100, items, items + 7]))
    masked = [rng.integers(0, items, draw(st.sampled_from([0, 30, 2 * items]))).tolist() for _ in range(users)]
    return values(items, dim), values(items), values(users, dim), SparsePart(table, histories), k, masked


def added(table: Neighbours, history: list[int]) -> list[float]:
    """What is added to each item's score, by the definition: Python floats, in order of the source items."""
    total = sum(float(table.item_weights[i]) ** 2 for i in history)
    length = {0: 1.0, 1: np.sqrt(total), 2: float(np.float32(total))}[int(table.length_power)]
    sums = [0.0] * table.n_items
    for i in history:
        weight = float(np.float32(float(table.item_weights[i]) / length)) if total else 0.0
        for entry in range(table.indptr[i], table.indptr[i + 1]):
            sums[table.items[entry]] += weight * float(table.values[entry])
    return sums


def best(case: Case, user: int, offset: float) -> tuple[list[int], list[float]]:
    """The whole product of one user, item by item."""
    vectors, biases, users, sparse, k, masked = case
    start, stop = sparse.histories.indptr[user : user + 2]
    more = added(sparse.neighbours, sparse.histories.rows[start:stop].tolist())
    scored = []
    for row in sorted(set(range(len(vectors))) - set(masked[user])):
        total = float(vectors[row, 0]) * float(users[user, 0])
        for value, weight in zip(vectors[row, 1:].tolist(), users[user, 1:].tolist(), strict=True):
            total += value * weight
        with np.errstate(over="ignore"):
            scored.append((-float(np.float32(total + float(biases[row]) + offset + more[row])), row))
    found = sorted(scored)[:k]
    return [row for _, row in found], [-score for score, _ in found]


def check(case: Case, offset: float, prepare: Callable[[TopK], TopK]) -> None:
    vectors, biases, users, sparse, k, masked = case
    packed = MaskedRows.pack([np.array(part, dtype=np.int32) for part in masked])
    topk = prepare(TopK(vectors, biases, offset=offset))
    rows, scores = topk.search(users, k, masked=packed, sparse=sparse)
    for user, (found, values) in enumerate(zip(rows, scores, strict=True)):
        wanted, expected = best(case, user, offset)
        assert found[: len(wanted)].tolist() == wanted
        assert values[: len(wanted)].tolist() == expected
        assert (found[len(wanted) :] == -1).all()


@pytest.mark.usefixtures("tiles")
@settings(max_examples=25, deadline=None)
@given(case=cases(), offset=st.sampled_from([0.0, -1e6]), few=st.booleans())
def test_equals_the_full_product(case: Case, offset: float, few: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcdr.search.topk, "FEW_USERS", 100 if few else 0)
        check(case, offset, lambda topk: topk)


@settings(max_examples=20, deadline=None)
@given(case=cases(), offset=st.sampled_from([0.0, -1e6]))
def test_compiled_loops_equal_the_full_product(case: Case, offset: float) -> None:
    def compiled(topk: TopK) -> TopK:
        topk.compile(case[3].neighbours)
        return topk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcdr.search.topk, "COMPILED_K", 1_000_000)
        patch.delattr(TopK, "_best_keys")
        if case[3].has_any().any():
            patch.delattr(TopK, "_few_keys")
        check(case, offset, compiled)


@pytest.mark.parametrize("dim", [1, 4, 40])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0])
def test_compiled_loops_find_what_numpy_finds_over_many_tiles(dim: int, scale: float) -> None:
    """Tiles that only neighbours make worth a look, users by groups, and products with some users only."""
    rng = np.random.default_rng(11)
    items, count = 20_000, 21
    lengths = np.exp(rng.standard_normal((items, 1)) / 2)
    vectors = (scale * lengths * rng.standard_normal((items, dim))).astype(np.float32)
    biases = (rng.random(items) / 8).astype(np.float32)
    users = rng.standard_normal((count, dim)).astype(np.float32)
    table = neighbours(rng, sources=60, items=items, width=900, power=1.0)
    sizes = [0, 1, 60, *rng.integers(0, 60, count - 3)]
    sparse = SparsePart(table, Histories.pack([np.sort(rng.choice(60, size, replace=False)) for size in sizes]))
    masked = MaskedRows.pack([rng.integers(0, items, size) for size in rng.integers(0, items, count)])
    topk = TopK(vectors, biases)
    wanted = topk.search(users, 30, masked=masked, sparse=sparse)
    topk.compile(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(TopK, "_best_keys")
        patch.delattr(TopK, "_few_keys")
        for part in (np.arange(count), np.array([2]), np.array([7, 2, 0, 1])):
            found = topk.search(users[part], 30, masked=masked.take(part), sparse=sparse.of(part))
            np.testing.assert_array_equal(found[0], wanted[0][part])
            np.testing.assert_array_equal(found[1], wanted[1][part])


def test_a_table_that_is_not_laid_out_is_searched_without_compiled_loops() -> None:
    rng = np.random.default_rng(2)
    vectors, users = (rng.standard_normal((count, 3)).astype(np.float32) for count in (200, 6))
    tables = [neighbours(rng, sources=9, items=200, width=40, power=0.0) for _ in range(2)]
    topk = TopK(vectors, np.zeros(200, dtype=np.float32))
    parts = [SparsePart(table, Histories.pack([np.array([1, 4])] * 6)) for table in tables]
    wanted = [topk.search(users, 9, sparse=part) for part in parts]
    topk.compile(tables[0])
    for part, expected in zip(parts, wanted, strict=True):
        np.testing.assert_array_equal(topk.search(users, 9, sparse=part), expected)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dim", [4, 40])
def test_no_answer_depends_on_company(dim: int) -> None:
    rng = np.random.default_rng(3)
    vectors, users = (rng.standard_normal((count, dim)).astype(np.float32) for count in (3000, 70))
    table = neighbours(rng, sources=50, items=3000, width=40, power=1.0)
    sizes = rng.integers(0, 30, 70)
    sparse = SparsePart(table, Histories.pack([np.sort(rng.choice(50, size, replace=False)) for size in sizes]))
    topk = TopK(vectors, np.zeros(3000, dtype=np.float32))
    together = topk.search(users, 10, sparse=sparse)
    for part in (np.array([5]), np.arange(69, 20, -1)):
        alone = topk.search(users[part], 10, sparse=sparse.of(part))
        np.testing.assert_array_equal(alone[0], together[0][part])
        np.testing.assert_array_equal(alone[1], together[1][part])
    nobody = topk.search(users, 10, sparse=sparse.of(np.full(70, -1)))
    np.testing.assert_array_equal(nobody[0], topk.search(users, 10)[0])


def test_pairs_get_what_the_lists_get() -> None:
    rng = np.random.default_rng(5)
    table = neighbours(rng, sources=9, items=30, width=8, power=0.0)
    sparse = SparsePart(table, Histories.pack([np.array([1, 4, 7]), np.array([], int), np.array([0])]))
    users, items = rng.integers(0, 3, 40), rng.integers(0, 30, 40)
    np.testing.assert_array_equal(sparse.at(users, items), sparse.sums()[users, items])
    assert sparse.sums()[0].tolist() == added(table, [1, 4, 7])
    assert not sparse.sums()[1].any()
