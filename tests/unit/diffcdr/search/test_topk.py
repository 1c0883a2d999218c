"""Two-stage top-k against the definition written out, on ties, masks, extremes and every batch shape."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffcdr.search.candidates
import diffcdr.search.compiled.kernels
import diffcdr.search.tiles
import diffcdr.search.topk
from diffcdr.search.item_order import ItemLayout
from diffcdr.search.topk import COMPILED_CHUNK, MaskedRows, TopK

Float32Array = npt.NDArray[np.float32]


def oracle(
    vectors: Float32Array, biases: Float32Array, offset: float, user: Float32Array, k: int, masked: set[int]
) -> tuple[list[int], list[float]]:
    """The definition, item by item: Python floats are float64, and the sum is taken in order."""
    scored = []
    for row in range(len(vectors)):
        if row in masked:
            continue
        total = float(vectors[row, 0]) * float(user[0])
        for value, weight in zip(vectors[row, 1:].tolist(), user[1:].tolist(), strict=True):
            total += value * weight
        with np.errstate(over="ignore"):
            scored.append((-float(np.float32(total + float(biases[row]) + offset)), row))
    best = sorted(scored)[:k]
    return [row for _, row in best], [-score for score, _ in best]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Float32Array, Float32Array, Float32Array, int, list[list[int]]]:
    items, users = draw(st.integers(1, 1500)), draw(st.integers(1, 5))
    dim = draw(st.one_of(st.integers(1, 6), st.just(33)))  # BLAS multiplies what is wide, also beside compiled loops
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Whole numbers tie often; tiny and huge scales reach both ends of float32.
    scale = draw(st.sampled_from([1.0, 1e-30, 1e-3, 1e15, 1e19, 1e38]))
    coarse = draw(st.booleans())

    def values(*shape: int) -> Float32Array:
        drawn = rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)
        return np.clip(drawn * scale, -3e38, 3e38).astype(np.float32)

    k = draw(st.sampled_from([1, 2, 20, 100, items, items + 7]))
    masked = [rng.integers(0, items, draw(st.sampled_from([0, 1, 30, 2 * items]))).tolist() for _ in range(users)]
    return values(items, dim), values(items), values(users, dim), k, masked


@pytest.fixture(params=["real tiles", "small tiles", "compiled"])
def tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small tiles make a thousand items as many tiles as a million have."""
    small = {"BLOCK_ITEMS": 4, "TILE_BLOCKS": 4, "TILE_ITEMS": 16, "SCORES_IN_CACHE": 200, "FIRST_TILES": 2}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items() if request.param == "small tiles" else ():
            patch.setattr(diffcdr.search.tiles, name, value)
        if request.param == "compiled":
            make = TopK.__init__

            def make_compiled(topk: TopK, *arguments: Any, **options: Any) -> None:
                make(topk, *arguments, **options)
                topk.compile()

            patch.setattr(TopK, "__init__", make_compiled)
            patch.setattr(diffcdr.search.topk, "COMPILED_K", 1_000_000)
            # Whoever is not alone is answered by compiled loops, or not at all.
            patch.delattr(TopK, "_best_keys")
        yield


@pytest.mark.usefixtures("tiles")
@settings(max_examples=60)
@given(problem=problems(), offset=st.sampled_from([0.0, 3.5, -1e6]), few=st.booleans())
def test_equals_the_definition(
    problem: tuple[Float32Array, Float32Array, Float32Array, int, list[list[int]]], offset: float, few: bool
) -> None:
    vectors, biases, users, k, masked = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcdr.search.topk, "FEW_USERS", 100 if few else 0)
        rows, scores = TopK(vectors, biases, offset=offset, typical_norm=2.0).search(
            users, k, masked=MaskedRows.pack([np.array(part, dtype=np.int32) for part in masked])
        )
    assert rows.shape == scores.shape == (len(users), k)
    for user, mask, found, values in zip(users, masked, rows, scores, strict=True):
        wanted_rows, wanted_scores = oracle(vectors, biases, offset, user, k, set(mask))
        assert found[: len(wanted_rows)].tolist() == wanted_rows
        assert values[: len(wanted_rows)].tolist() == wanted_scores
        assert (found[len(wanted_rows) :] == -1).all()
        assert (values[len(wanted_rows) :] == -np.inf).all()


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("users", [1, 9])
@pytest.mark.parametrize("scale", [9e36, 1.1e37, 3.4e38])  # the last that float32 products are trusted with; beyond
def test_no_score_is_so_low_that_padding_comes_before_it(users: int, scale: float) -> None:
    """700 items fill no tile, and more is asked for than the mask leaves, so that every bound is at its lowest."""
    biases = np.full(700, -scale, dtype=np.float32)
    biases[::7] = scale
    vectors = np.zeros((700, 3), dtype=np.float32)
    vectors[:, 0] = np.linspace(-1.0, 1.0, 700)
    queries = np.zeros((users, 3), dtype=np.float32)
    queries[:, 0] = np.arange(users)
    masked = [np.arange(start % 7, 700, 2, dtype=np.int32) for start in range(users)]
    rows, scores = TopK(vectors, biases).search(queries, 500, masked=MaskedRows.pack(masked))
    for user, query in enumerate(queries):
        wanted, values = oracle(vectors, biases, 0.0, query, 500, set(masked[user].tolist()))
        assert rows[user].tolist() == wanted + [-1] * (500 - len(wanted))
        assert scores[user, : len(wanted)].tolist() == values


def test_what_is_multiplied_is_finite() -> None:
    """OpenBLAS' AVX-512 kernel flags a product with infinities as invalid, and its rows beside may be anything."""
    padded = ItemLayout(np.ones((5, 2), np.float32), np.ones(5, np.float32), typical_norm=1.0, tile_items=16).padded(
        np.ones((5, 2), np.float32), np.ones(5, np.float32), width=4
    )
    assert np.isfinite(padded).all()
    assert (padded[5:] @ np.float32([3.4e38, -3.4e38, 1.0, 0.0])).tolist() == [diffcdr.search.candidates.PADDING] * 11
    assert (
        diffcdr.search.candidates.PADDING
        < diffcdr.search.candidates.LOWEST
        == diffcdr.search.compiled.kernels.LOWEST
        < -5e37
    )


def test_batch_of_one_equals_batch_of_4096() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((5000, 10)).astype(np.float32)
    topk = TopK(vectors, rng.standard_normal(5000).astype(np.float32), offset=0.25)
    users = rng.standard_normal((4096, 10)).astype(np.float32)
    masks = [rng.integers(0, 5000, size).astype(np.int32) for size in rng.integers(0, 40, 4096)]
    rows, scores = topk.search(users, 20, masked=MaskedRows.pack(masks))
    for i in [*range(0, 4096, 97), 4095]:
        row, score = topk.search(users[i : i + 1], 20, masked=MaskedRows.pack([masks[i]]))
        assert row.tobytes() == rows[i].tobytes()
        assert score.tobytes() == scores[i].tobytes()


@pytest.mark.parametrize("dim", [1, 3, 10, 31, 32, 64])
@pytest.mark.parametrize("k", [1, 20, 600])
def test_compiled_loops_find_what_numpy_finds(dim: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(dim)
    vectors = (rng.standard_normal((9000, dim)) * np.exp(rng.normal(0, 0.5, (9000, 1)))).astype(np.float32)
    vectors[rng.integers(0, 9000, 3000)] = vectors[:3000]  # ties
    count = COMPILED_CHUNK + 45
    biases, users = rng.integers(0, 2, 9000).astype(np.float32), rng.standard_normal((count, dim)).astype(np.float32)
    masked = MaskedRows.pack([rng.integers(0, 9000, size).astype(np.int32) for size in rng.integers(0, 900, count)])
    plain, compiled = (TopK(vectors, biases, offset=0.5) for _ in range(2))
    compiled.compile()
    expected = plain.search(users, k, masked=masked)
    monkeypatch.delattr(TopK, "_best_keys")
    found = compiled.search(users, k, masked=masked)
    assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


def test_without_numba_numpy_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffcdr.search.compiled.scan", None)
    monkeypatch.setattr(diffcdr.search.topk, "find_spec", lambda name: None)
    topk = TopK(np.eye(6, dtype=np.float32), np.zeros(6, dtype=np.float32))
    topk.compile()
    assert topk.search(np.eye(6, dtype=np.float32), 1)[0][:, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("tiles")
def test_skipping_items_skips_none_that_matter() -> None:
    """Item lengths over five orders of magnitude, so that most tiles are skipped, and users of very different needs."""
    rng = np.random.default_rng(7)
    scale = np.exp(rng.normal(0, 2, (3000, 1)))
    vectors = (rng.standard_normal((3000, 5)) * scale).astype(np.float32)
    biases = rng.standard_normal(3000).astype(np.float32)
    users = (rng.standard_normal((300, 5)) * np.exp(rng.normal(0, 3, (300, 1)))).astype(np.float32)
    rows, scores = TopK(vectors, biases).search(users, 10)
    exact = (users.astype(np.float64) @ vectors.T.astype(np.float64) + biases).astype(np.float32)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_allclose(scores, np.take_along_axis(exact, order, axis=1), rtol=1e-6)
    assert np.mean(rows == order) > 0.999  # the last bit of a sum may swap two neighbours


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("users", [1, 40])
@pytest.mark.parametrize("length", [0.01, 1.0, 2.9, 1000.0])
@pytest.mark.parametrize("spread", [1, 17])  # all in the first tiles; or each in a block of its own
def test_an_item_that_just_reaches_the_bound_is_found(users: int, length: float, spread: int) -> None:
    """Row 0 is the shortest that can tie with the ten best, so it is looked at last, and wins by its row."""
    others = np.stack([np.full(2000, 0.5), np.linspace(9, 5, 2000)], axis=1)
    others[: 12 * spread : spread, 0] = 1.0
    vectors = np.concatenate([[[1.0, 0.0]], others, np.full((500, 2), 0.1)]).astype(np.float32)
    user = np.array([length, 0.0], dtype=np.float32)
    for biases in (np.zeros(2501), np.full(2501, 0.75)):
        rows, _ = TopK(vectors, biases.astype(np.float32)).search(np.tile(user, (users, 1)), 10)
        assert rows.tolist() == [[0, *range(1, 1 + 9 * spread, spread)]] * users


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("users", [2, 40])
def test_masking_the_best_uncovers_the_next_best(users: int) -> None:
    rng = np.random.default_rng(9)
    topk = TopK(rng.standard_normal((2000, 3)).astype(np.float32), rng.standard_normal(2000).astype(np.float32))
    vectors = rng.standard_normal((users, 3)).astype(np.float32)
    rows, scores = topk.search(vectors, 300)
    masked = MaskedRows.pack([row[rng.permutation(200)] for row in rows])
    rest, rest_scores = topk.search(vectors, 100, masked=masked)
    assert rest.tolist() == rows[:, 200:].tolist()
    assert rest_scores.tolist() == scores[:, 200:].tolist()


def test_a_shorter_list_is_a_prefix_and_scores_are_those_of_score() -> None:
    rng = np.random.default_rng(2)
    topk = TopK(rng.standard_normal((3000, 7)).astype(np.float32), rng.standard_normal(3000).astype(np.float32))
    user = rng.standard_normal((1, 7)).astype(np.float32)
    long_rows, long_scores = topk.search(user, 100)
    short_rows, short_scores = topk.search(user, 3)
    assert short_rows.tolist() == long_rows[:, :3].tolist()
    assert short_scores.tolist() == long_scores[:, :3].tolist()
    assert topk.score(user[0], long_rows[0]).tolist() == long_scores[0].tolist()


def test_scores_are_correctly_rounded_where_float32_sums_would_not_be() -> None:
    """1e8 + 1 - 1e8 is 1 exactly, and 0 or 8 in float32."""
    vectors = np.array([[1e8, 1.0, -1e8], [1e8, 0.5, -1e8]], dtype=np.float32)
    rows, scores = TopK(vectors, np.zeros(2, dtype=np.float32)).search(np.ones((1, 3), dtype=np.float32), 2)
    exact = [float(sum(Fraction(float(value)) for value in row)) for row in vectors]
    assert scores[0].tolist() == exact == [1.0, 0.5]
    assert rows[0].tolist() == [0, 1]


def test_all_items_tied_come_in_row_order() -> None:
    topk = TopK(np.zeros((70_000, 2), dtype=np.float32), np.zeros(70_000, dtype=np.float32), offset=1.5)
    mask = MaskedRows.pack([np.array([0, 3], dtype=np.int32)])
    rows, scores = topk.search(np.ones((1, 2), dtype=np.float32), 4, masked=mask)
    assert rows[0].tolist() == [1, 2, 4, 5]
    assert scores[0].tolist() == [1.5] * 4


@pytest.mark.usefixtures("tiles")
def test_tied_items_of_tied_users_are_told_apart_by_their_masks() -> None:
    topk = TopK(np.zeros((3_000, 2), dtype=np.float32), np.zeros(3_000, dtype=np.float32))
    masked = MaskedRows.pack([np.arange(size, dtype=np.int32) for size in range(40)])
    users = np.tile(np.array([[1, 0], [0, 1]], dtype=np.float32), (20, 1))
    rows, _ = topk.search(users, 3, masked=masked)
    assert rows.tolist() == [[size, size + 1, size + 2] for size in range(40)]


def test_negative_zero_ties_with_zero() -> None:
    vectors = np.array([[-0.0], [0.0], [-0.0]], dtype=np.float32)
    rows, _ = TopK(vectors, np.full(3, -0.0, dtype=np.float32), offset=-0.0).search(
        np.ones((1, 1), dtype=np.float32), 3
    )
    assert rows[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("items", "users"), [(0, 3), (5, 0), (0, 0)])
def test_nothing_to_rank(items: int, users: int) -> None:
    topk = TopK(np.empty((items, 4), dtype=np.float32), np.empty(items, dtype=np.float32))
    rows, scores = topk.search(np.ones((users, 4), dtype=np.float32), 3)
    assert rows.shape == scores.shape == (users, 3)
    assert (rows == -1).all() if items == 0 else rows.size == 0


def test_everything_masked_leaves_nothing() -> None:
    topk = TopK(np.ones((600, 1), dtype=np.float32), np.arange(600, dtype=np.float32))
    mask = MaskedRows.pack([np.arange(600, dtype=np.int32), np.arange(599, dtype=np.int32)])
    rows, scores = topk.search(np.ones((2, 1), dtype=np.float32), 2, masked=mask)
    assert rows.tolist() == [[-1, -1], [599, -1]]
    assert scores.tolist() == [[-np.inf, -np.inf], [600.0, -np.inf]]
