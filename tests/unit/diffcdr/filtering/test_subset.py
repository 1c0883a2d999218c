"""The best of some items are those of the full product over these items, by every way of searching them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.filtering import subset as module
from diffcdr.filtering.subset import Subset
from diffcdr.search.sparse_part import Histories, Neighbours, SparsePart
from diffcdr.search.topk import MaskedRows, TopK

N, DIM, OFFSET = 700, 5, 3.5


def product(users: Float32Array, vectors: Float32Array, biases: Float32Array, added: Float64Array) -> Float32Array:
    """The definition of a score, one by one: float64 sums in the order of the dimensions."""
    out = np.empty((len(users), len(vectors)), dtype=np.float32)
    for u, user in enumerate(users):
        for j, vector in enumerate(vectors):
            total = 0.0
            for d in range(len(vector)):
                total += float(vector[d]) * float(user[d])
            with np.errstate(over="ignore"):
                out[u, j] = np.float32(total + float(biases[j]) + OFFSET + added[u, j])
    return out


def best(scores: Float32Array, allowed: Int64Array, barred: set[int], k: int) -> list[tuple[int, float]]:
    left = [(row, float(scores[row])) for row in allowed.tolist() if row not in barred]
    return sorted(left, key=lambda pair: (-pair[1], pair[0]))[:k]


def shown(rows: Float32Array, scores: Float32Array) -> list[list[tuple[int, float]]]:
    return [
        [(int(row), float(score)) for row, score in zip(some, theirs, strict=True) if row >= 0]
        for some, theirs in zip(rows, scores, strict=True)
    ]


@pytest.mark.parametrize(
    ("way", "sparse"), [("looked through", False), ("looked through", True), ("laid out", False), ("compiled", False)]
)
def test_the_best_of_some_items_are_those_of_the_full_product(
    way: str, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "looked through":
        monkeypatch.setattr(module, "LAID_OUT_ITEMS", 1)
        monkeypatch.setattr(module, "SEARCHES_BEFORE", 0)
        monkeypatch.setattr(module, "COMPILED_USERS", 1)

    @settings(max_examples=6)
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        few = data.draw(st.sampled_from([1, 3, 60]), label="kinds of items")  # few kinds: large ties
        kinds = rng.integers(0, few, N)
        vectors = (rng.integers(-3, 4, (few, DIM)) / 2).astype(np.float32)[kinds]
        biases = (rng.integers(-2, 3, few) / 4).astype(np.float32)[kinds]
        scale = data.draw(st.sampled_from([0.0, 1.0, 1e30]), label="length of users")
        users = (rng.normal(size=(6, DIM)) * scale).astype(np.float32)
        share = data.draw(st.sampled_from([0.0, 1 / N, 0.1, 0.45]), label="share allowed")
        allowed = np.flatnonzero(rng.random(N) < share)
        masks = [rng.choice(N, data.draw(st.sampled_from([0, 3, 600])), replace=True) for _ in users]
        k = data.draw(st.sampled_from([1, 7, N]), label="k")
        part, added = None, np.zeros((len(users), N))
        if sparse:
            part = neighbours(rng, len(users))
            added = part.sums()
        exact = TopK(vectors, biases, offset=OFFSET)
        some = Subset(exact, (vectors, biases), allowed, layout={"offset": OFFSET, "typical_norm": 1.0})
        found = some.search(users, k, masked=MaskedRows.pack(masks), sparse=part, compiled=way == "compiled")
        scores = product(users, vectors, biases, added)
        assert found[0].shape == (len(users), k)
        wanted = [best(mine, allowed, set(mask.tolist()), k) for mine, mask in zip(scores, masks, strict=True)]
        assert shown(*found) == wanted

    compare()


def neighbours(rng: np.random.Generator, users: int) -> SparsePart:
    counts = rng.integers(0, 40, 8)
    table = Neighbours(
        item_weights=rng.uniform(0.5, 2.0, 8).astype(np.float32),
        length_power=1.0,
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=np.concatenate([np.sort(rng.choice(N, count, replace=False)) for count in counts]).astype(np.int32),
        values=rng.uniform(0.1, 2.0, counts.sum()).astype(np.float32),
        n_items=N,
    )
    lists = [np.sort(rng.choice(8, rng.integers(0, 5), replace=False)) for _ in range(users)]
    return SparsePart(table, Histories.pack(lists))
