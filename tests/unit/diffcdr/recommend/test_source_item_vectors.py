"""A source item lies among target items where a history of it alone moves the vector of a user without ratings."""

from __future__ import annotations

import numpy as np
import pytest

from diffcdr.recommend.user_vectors import Resolver
from tests.unit.diffcdr.recommend.explained_bundles import KINDS, SHAPE, Kind, planted, recommender


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_the_fold_in_of_one_rating_adds(kind: Kind) -> None:
    asked, bundle = recommender(kind), planted(kind)
    resolver: Resolver = asked._resolver
    fold_in, spec, items = resolver.fold_in, bundle.manifest.fold_in, bundle.source_items
    assert fold_in is not None and spec is not None
    rows = np.arange(len(items.ids))
    base, parts = fold_in.alone(rows)
    # One point higher than expected; with implicit feedback, any rating.
    ratings = spec.offset + items.biases.astype(np.float64) + 1.0
    single = np.array([fold_in([(items.ids[row], float(ratings[row]))]) for row in rows])
    mine = np.ones(len(base), dtype=np.bool_)
    if kind == "shape":  # how the user rates is not the item's
        dim = items.vectors.shape[1]
        mine[dim : dim + SHAPE.dim] = False
        assert not parts[:, ~mine].any()
        np.testing.assert_allclose(base[dim : dim + SHAPE.dim], [0, 0, *SHAPE.level_shares, SHAPE.spread**0.5, 0])
    assert not base[mine].any()
    np.testing.assert_allclose(parts[:, mine], single[:, mine], rtol=1e-5, atol=1e-6)
    found = asked.source_item_vectors(rows)
    assert found is not None
    if kind != "shape":
        moved = resolver.carry(single) - resolver.carry(np.zeros((1, len(base)), dtype=np.float32))
        np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-5)
    one = asked.source_item_vectors(rows[7:8])
    assert one is not None
    np.testing.assert_allclose(one[0], found[7], rtol=1e-5, atol=1e-6)
