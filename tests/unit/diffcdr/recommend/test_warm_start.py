from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from diffcdr.bundle.manifest import WarmSpec
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.recommend.warm_start import Blend
from tests.bundles import write_bundle

Kind = Literal["ridge", "als"]


def spec_of(kind: Kind, strength: float) -> WarmSpec:
    return WarmSpec(kind=kind, strength=strength, confidence=7.0 if kind == "als" else 1.0)


def cost(spec: WarmSpec, vector: Any, start: Any, *, vectors: Any, biases: Any, rows: Any, ratings: Any) -> float:
    """The definition, literally; offset 3 for ratings."""
    held = spec.strength * float(np.square(vector - start).sum())
    if spec.kind == "ridge":
        return held + float(np.square(ratings - 3.0 - biases[rows] - vectors[rows] @ vector).sum())
    has = np.zeros(len(vectors))
    has[rows] = 1.0
    return held + float(np.where(has == 1.0, spec.confidence, 1.0) @ np.square(has - vectors @ vector))


@settings(max_examples=30)
@given(st.sampled_from(["ridge", "als"]), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0, 40.0]))
def test_the_blend_is_the_optimum(kind: Kind, seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, biases, start = rng.normal(size=(9, 3)), rng.normal(size=9), rng.normal(size=3)
    rows = np.flatnonzero(rng.random(9) < 0.5)
    known = {"vectors": vectors, "biases": biases, "rows": rows, "ratings": rng.uniform(1, 5, size=len(rows))}
    spec = spec_of(kind, strength)
    found = Blend(spec, vectors, biases, offset=3.0)(start, rows, known["ratings"])
    if not len(rows):
        assert found.tolist() == start.tolist()
        return
    best = minimize(lambda vector: cost(spec, vector, start, **known), start, tol=1e-12)
    assert cost(spec, found, start, **known) <= best.fun + 1e-8
    np.testing.assert_allclose(found, best.x, atol=1e-4)


@settings(max_examples=60)
@given(
    st.sampled_from(["ridge", "als"]),
    st.sampled_from([1.0, 1e19, 1e38]),
    st.lists(st.sampled_from([-3.4e38, -1.0, 1e-30, 4.0, 1e20, 3.4e38]), min_size=1, max_size=9),
)
def test_nothing_overflows_on_the_way_to_a_vector(kind: Kind, scale: float, ratings: list[float]) -> None:
    """Warnings are errors here, whatever float32 held."""
    rng = np.random.default_rng(len(ratings))
    vectors, biases, start = (scale * rng.uniform(-3, 3, shape) for shape in ((9, 3), 9, 3))
    moved = Blend(spec_of(kind, 2.0), vectors, biases, offset=3.0)(start, np.arange(len(ratings)), np.array(ratings))
    assert np.isfinite(moved).all() or np.isnan(moved).all()


@pytest.mark.parametrize("kind", ["ridge", "als"])
def test_a_strong_prior_holds_and_a_rating_pulls_its_item_up(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    vectors, biases, start = rng.normal(size=(20, 4)), np.zeros(20), 0.1 * rng.normal(size=4)
    rows, ratings = np.array([3]), np.array([5.0])
    held = Blend(spec_of(kind, 1e9), vectors, biases, offset=3.0)(start, rows, ratings)
    np.testing.assert_allclose(held, start, atol=1e-6)
    moved = Blend(spec_of(kind, 1.0), vectors, biases, offset=3.0)(start, rows, ratings)
    assert vectors[3] @ moved > vectors[3] @ start


@pytest.fixture(params=["ridge", "als"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    write_bundle(tmp_path / "b", warm=request.param, objective="rating" if request.param == "ridge" else "ranking")
    return open_bundle(tmp_path / "b")


def answer(recommender: Recommender, **query: Any) -> Recommendation:
    (found,) = recommender.answer([Query(**query)])
    assert isinstance(found, Recommendation)
    return found


def test_no_usable_target_rating_is_the_cold_list(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    for user in ("u00030", "u00001", "v00000", "nobody"):
        cold = answer(recommender, user_id=user)
        for given_ratings in ((), (("no such item", 5.0),), (("t00003", float("nan")),)):
            found = answer(recommender, user_id=user, target_history=given_ratings)
            assert (found.item_ids, found.scores, found.strategy) == (cold.item_ids, cold.scores, cold.strategy)


def test_target_ratings_move_the_list_and_are_seen(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    rated = (("t00003", 5.0), ("t00007", 1.0), ("t00011", 4.0))
    for query in ({"user_id": "u00030"}, {"user_id": None, "history": (("s00001", 5.0),)}, {"user_id": "nobody"}):
        cold = answer(recommender, k=60, exclude_seen=False, **query)
        found = answer(recommender, k=60, target_history=rated, **query)
        assert found.strategy == "warm"
        assert found.fallback_reason is None
        assert not {item for item, _ in rated} & set(found.item_ids)
        again = answer(recommender, k=60, target_history=rated, exclude_seen=False, **query)
        assert set(again.item_ids) == set(cold.item_ids)
        assert again.item_ids != cold.item_ids


def test_what_was_rated_in_training_counts_with_what_is_given(tmp_path: Path) -> None:
    """Where absence counts: a trained user who names an item of theirs again gets the blend of all of theirs."""
    write_bundle(tmp_path / "b", warm="als", objective="ranking")
    bundle = open_bundle(tmp_path / "b")
    recommender, items = Recommender(bundle), bundle.target_items
    row = int(bundle.target_users.ids.rows(["u00001"])[0])
    seen = bundle.target_users.seen(row)
    own = items.ids.take(seen)
    found = answer(recommender, user_id="u00001", target_history=((own[2], 4.0),), k=5)
    assert bundle.manifest.warm is not None
    source = bundle.source_users.vectors[bundle.source_users.ids.rows(["u00001"])]
    blend = Blend(bundle.manifest.warm, items.vectors, items.biases, offset=3.5)
    vector = blend(recommender.embed_vectors(source)[0], seen, np.ones(len(seen))).astype(np.float32)
    scores = items.vectors.astype(np.float64) @ vector + items.biases + 3.5
    scores[seen] = -np.inf
    assert found.item_ids == items.ids.take(np.argsort(-scores)[:5])


def test_where_ratings_cannot_move_anything_they_are_seen_at_least(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", warm=None)
    recommender = Recommender(open_bundle(tmp_path / "b"))
    first = answer(recommender, user_id="u00030").item_ids[0]
    found = answer(recommender, user_id="u00030", target_history=((first, 5.0),))
    assert found.strategy == "transfer"
    assert first not in found.item_ids


def test_ratings_near_the_end_of_the_float_range_leave_the_list_as_it_was(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    rated = (("t00003", 1e308), ("t00007", -1e308))
    found = answer(recommender, user_id="u00030", target_history=rated)
    assert found.strategy in ("transfer", "warm")
    assert np.isfinite(found.scores).all()


def test_an_opted_out_user_is_not_moved(bundle: Bundle) -> None:
    found = answer(Recommender(bundle), user_id="u00030", target_history=(("t00003", 5.0),), personalise=False)
    assert (found.strategy, found.fallback_reason) == ("popular", "opted_out")


def test_company_changes_nothing(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    queries = [
        Query(user_id=f"u{n:05}", k=7, target_history=((f"t{n:05}", 5.0), ("t00020", 2.0)) if n % 2 else ())
        for n in range(20)
    ]
    together = recommender.answer(queries)
    assert together == [recommender.answer([query])[0] for query in queries]
