"""Explanations: shares add up to the score, and each is what the definition says."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.bundle.display_tables import ConsoleTables
from diffcdr.bundle.reader import Bundle, SourceUsers
from diffcdr.recommend.fold_in import FoldIn, usable_ratings
from diffcdr.recommend.query import NAMED, Explanation, Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from diffcdr.recommend.transfer import COMPLETENESS
from diffcdr.recommend.warm_start import Blend
from tests.unit.diffcdr.recommend.explained_bundles import (
    COLD,
    KINDS,
    OTHER,
    TARGET_ONLY,
    WARM,
    Kind,
    planted,
    recommender,
)


def ask(asked: Recommender, query: Query) -> Recommendation:
    (answer,) = asked.answer([replace(query, explain=True)])
    assert isinstance(answer, Recommendation)
    return answer


def explained(asked: Recommender, query: Query) -> tuple[Recommendation, list[Explanation]]:
    answer = ask(asked, query)
    assert answer.unexplained_reason is None
    assert answer.explanations is not None
    assert len(answer.explanations) == len(answer)
    return answer, answer.explanations


def tolerance(kind: Kind, answer: Recommendation) -> float:
    scale = 1.0 + max(map(abs, answer.scores), default=0.0)
    return (COMPLETENESS if kind == "graph" else 2e-6) * scale


source_ratings = st.lists(
    st.tuples(st.integers(0, 39).map(lambda row: f"s{row:05d}"), st.integers(1, 5).map(float)), max_size=12
).map(tuple)
target_ratings = st.lists(
    st.tuples(st.integers(0, 59).map(lambda row: f"t{row:05d}"), st.integers(1, 5).map(float)), max_size=4
).map(tuple)
queries = st.builds(
    Query,
    st.sampled_from([None, COLD, OTHER, WARM, TARGET_ONLY, "nobody"]),
    k=st.integers(1, 70),
    history=source_ratings,
    target_history=target_ratings,
    diversity=st.sampled_from([0.0, 0.0, 0.3]),
    exclude_seen=st.booleans(),
)


@settings(max_examples=60)
@given(queries, st.sampled_from(KINDS))
def test_shares_add_up_to_the_score_and_nothing_remains(query: Query, kind: Kind) -> None:
    answer = ask(recommender(kind), query)
    if answer.strategy == "popular":
        assert (answer.explanations, answer.unexplained_reason) == (None, "not_personal")
        return
    assert answer.explanations is not None
    for score, found in zip(answer.scores, answer.explanations, strict=True):
        assert found.total == pytest.approx(score, abs=1e-9)
        assert abs(found.rest) <= tolerance(kind, answer)
        shares = [source.share for source in found.sources]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) <= NAMED
        assert all(share > 0 for share in shares)


def test_the_share_of_an_item_by_its_definition() -> None:
    bundle = planted("als")
    assert bundle.affine is not None and bundle.neighbours is not None and bundle.console.history is not None
    answer, found = explained(recommender("als"), Query(COLD, k=60))
    row = bundle.source_users.ids.row(COLD)
    rated, _ = bundle.console.history.of(row)
    source = bundle.source_items.vectors.astype(np.float64)
    confidence = np.ones(len(source))
    confidence[rated] = 10.0
    inverse = np.linalg.inv((source.T * confidence) @ source + 0.5 * np.eye(6))
    weights = bundle.neighbours.item_weights[rated].astype(np.float64)
    weights /= np.linalg.norm(weights)
    table = np.zeros((len(source), 60))
    for item in range(len(source)):
        mine = slice(int(bundle.neighbours.indptr[item]), int(bundle.neighbours.indptr[item + 1]))
        table[item, bundle.neighbours.items[mine]] = bundle.neighbours.values[mine]
    for item_id, explanation in zip(answer.item_ids, found, strict=True):
        place = bundle.target_items.ids.row(item_id)
        wanted = {
            bundle.source_items.ids[item]: float(
                10.0 * inverse @ source[item] @ bundle.affine[0] @ bundle.target_items.vectors[place]
                + weight * table[item, place]
            )
            for item, weight in zip(rated.tolist(), weights, strict=True)
        }
        named = {source.item_id: source.share for source in explanation.sources}
        assert named == pytest.approx({item: share for item, share in wanted.items() if share > 0}, abs=1e-6)
        assert explanation.other_sources == pytest.approx(sum(share for share in wanted.values() if share <= 0))
        nobody = float(bundle.affine[1] @ bundle.target_items.vectors[place]) + 3.5
        assert explanation.base == pytest.approx(nobody + float(bundle.target_items.biases[place]))
        assert explanation.target_ratings == 0.0


def test_ratings_and_titles_are_those_the_history_shows() -> None:
    bundle = planted("ridge")
    assert bundle.console.history is not None and bundle.source_items.titles is not None
    items, ratings = bundle.console.history.of(bundle.source_users.ids.row(COLD))
    shown = {
        (bundle.source_items.ids[item], bundle.source_items.titles[item], rating)
        for item, rating in zip(items.tolist(), ratings.tolist(), strict=True)
    }
    named = {
        (s.item_id, s.title, s.rating) for e in explained(recommender("ridge"), Query(COLD, k=60))[1] for s in e.sources
    }
    assert named and named <= shown
    given = (("s00009", 5.0), ("s00001", 2.0))
    _, found = explained(recommender("ridge"), Query(COLD, k=60, history=given))
    assert {(s.item_id, s.rating) for each in found for s in each.sources} == set(given)


@pytest.mark.parametrize("kind", ["als", "ridge", "graph"])
def test_what_target_ratings_say_is_what_they_say_to_nobody(kind: Kind) -> None:
    """The vector is a part of u0 and one that knows nothing of u0; the latter is that of the user of vector 0."""
    bundle, items = planted(kind), planted(kind).target_items
    assert bundle.manifest.warm is not None
    answer, found = explained(recommender(kind), Query(COLD, k=60, target_history=(("t00004", 5.0), ("t00011", 1.0))))
    assert answer.strategy == "warm"
    blend = Blend(bundle.manifest.warm, items.vectors, items.biases, offset=3.5)
    alone = blend(np.zeros(6), np.array([4, 11]), np.array([5.0, 1.0]))
    for item_id, each in zip(answer.item_ids, found, strict=True):
        row = items.ids.row(item_id)
        assert each.target_ratings == pytest.approx(float(items.vectors[row] @ alone), abs=1e-5)
        assert each.sources or each.other_sources


@settings(max_examples=30)
@given(st.sets(st.integers(0, 59), min_size=1, max_size=9), st.sampled_from(["als", "ridge"]))
def test_what_is_kept_of_a_vector_is_how_far_the_blend_follows_it(rated: set[int], kind: Kind) -> None:
    bundle, rows = planted(kind), np.array(sorted(rated))
    assert bundle.manifest.warm is not None
    blend = Blend(bundle.manifest.warm, bundle.target_items.vectors, bundle.target_items.biases, offset=3.5)
    start, step, ratings = np.linspace(-1, 1, 6), np.linspace(2, -1, 6) ** 2, np.linspace(1, 5, len(rows))
    moved = blend(start + step, rows, ratings) - blend(start, rows, ratings)
    np.testing.assert_allclose(blend.kept(rows, step[:, None])[:, 0], moved, atol=1e-9)


def stored(bundle: Bundle, how: Literal["own", "blended"], *, sparse: bool = True) -> Bundle:
    """With the vectors of target users that ``how`` says."""
    assert bundle.manifest.warm is not None
    spec = bundle.manifest.warm.model_copy(update={"stored": how, "sparse": sparse})
    users, items = bundle.target_users, bundle.target_items
    vectors = np.array(users.vectors)
    if how == "blended":
        blend = Blend(spec, items.vectors, items.biases, offset=3.5)
        for row in range(10):
            start = Recommender(bundle).embed_vectors(np.asarray(bundle.source_users.vectors[row : row + 1]))[0]
            vectors[row] = blend(start, users.seen(row), np.linspace(1, 5, 5))
    return replace(
        bundle,
        manifest=bundle.manifest.model_copy(update={"warm": spec}),
        target_users=replace(users, vectors=vectors),
    )


@pytest.mark.parametrize("kind", ["als", "ridge"])
def test_stored_target_vectors_leave_the_source_what_they_were_made_with(kind: Kind) -> None:
    blended, own = stored(planted(kind), "blended"), stored(planted(kind), "own", sparse=False)
    answer, found = explained(Recommender(blended), Query(WARM, k=20))
    assert answer.strategy == "warm"
    assert any(each.sources for each in found)
    seen = blended.target_users.seen(blended.target_users.ids.row(WARM))
    assert blended.manifest.warm is not None and kind in ("als", "ridge")
    items = blended.target_items
    alone = Blend(blended.manifest.warm, items.vectors, items.biases, offset=3.5)(
        np.zeros(6), seen, np.linspace(1, 5, 5)
    )
    for item_id, each in zip(answer.item_ids, found, strict=True):
        said = float(items.vectors[items.ids.row(item_id)] @ alone)
        assert each.target_ratings == pytest.approx(said, abs=1e-5)
    for each in explained(Recommender(own), Query(WARM, k=20))[1]:
        assert (each.sources, each.other_sources) == ((), 0.0)
        assert each.base + each.target_ratings == pytest.approx(each.total, abs=1e-5)


def test_a_vector_that_is_not_what_the_manifest_says_is_not_claimed() -> None:
    bundle = stored(planted("als"), "blended", sparse=False)
    users = replace(bundle.target_users, vectors=np.asarray(bundle.target_users.vectors) + np.float32(0.5))
    for each in explained(Recommender(replace(bundle, target_users=users)), Query(WARM, k=5))[1]:
        assert (each.sources, each.other_sources) == ((), 0.0)


def test_what_the_ratings_do_not_give_is_the_rest() -> None:
    bundle = planted("ridge")
    vectors = np.array(bundle.source_users.vectors)
    step = np.linspace(-1, 1, 6).astype(np.float32)
    vectors[bundle.source_users.ids.row(COLD)] += step
    moved = replace(bundle, source_users=SourceUsers(bundle.source_users.ids, vectors))
    answer, found = explained(Recommender(moved), Query(COLD, k=60))
    assert bundle.affine is not None
    for item_id, each in zip(answer.item_ids, found, strict=True):
        row = bundle.target_items.ids.row(item_id)
        assert each.rest == pytest.approx(float(step @ bundle.affine[0] @ bundle.target_items.vectors[row]), abs=1e-5)


def test_neither_company_nor_the_page_changes_an_explanation() -> None:
    asked = recommender("als")
    many = [Query(user, k=30, explain=True) for user in (COLD, WARM, "nobody", OTHER)]
    together = asked.answer([*many, Query(COLD, k=30)])
    assert [ask(asked, query) for query in many] == together[:-1]
    plain = together[-1]
    assert isinstance(plain, Recommendation)
    assert (plain.explanations, plain.unexplained_reason) == (None, None)
    whole = explained(asked, Query(COLD, k=30))[1]
    assert explained(asked, Query(COLD, k=10, offset=5))[1] == pytest.approx(whole[5:15])


def told(kind: Kind, change: str) -> Bundle:
    """The bundle of ``kind``, lacking something."""
    bundle = planted(kind)
    if change == "no histories":
        return replace(bundle, console=ConsoleTables())
    if change == "no rule":
        return replace(bundle, manifest=bundle.manifest.model_copy(update={"fold_in": None}))
    return bundle


@pytest.mark.parametrize(
    ("kind", "change", "query", "reason"),
    [
        ("als", "", Query("nobody"), "not_personal"),
        ("als", "", Query(COLD, personalise=False, history=(("s00001", 5.0),)), "not_personal"),
        ("als", "no histories", Query(COLD), "no_histories"),
        ("als", "no histories", Query(WARM), "no_histories"),
        ("als", "no histories", Query(COLD, history=(("s00001", 5.0),)), None),
        ("ridge", "no histories", Query(TARGET_ONLY), None),
        ("ridge", "", Query("elsewhere", source_vector=np.ones(6, dtype=np.float32)), "no_histories"),
        ("graph", "no rule", Query(COLD), "no_item_vectors"),
        ("als", "no rule", Query(COLD), None),
        ("ridge", "", Query(None, history=(("s00001", 3e38), ("s00002", -3e38))), "not_finite"),
    ],
)
def test_why_there_is_no_explanation(kind: Kind, change: str, query: Query, reason: str | None) -> None:
    answer = ask(Recommender(told(kind, change), device="cpu"), query)
    assert answer.unexplained_reason == reason
    assert (answer.explanations is None) == (reason is not None)


@settings(max_examples=60)
@given(source_ratings.filter(bool), st.sampled_from(KINDS))
def test_a_source_vector_is_the_sum_of_its_parts(history: tuple[tuple[str, float], ...], kind: Kind) -> None:
    bundle = planted(kind)
    assert bundle.manifest.fold_in is not None
    fold_in = FoldIn(bundle.manifest.fold_in, bundle.source_items)
    base, parts = fold_in.parts(*usable_ratings(bundle.source_items.ids, history))
    vector = fold_in(history)
    assert vector is not None
    np.testing.assert_allclose(base + parts.sum(axis=0), vector, atol=1e-5)


def test_parts_of_a_vector_that_nothing_determines_are_those_of_the_shortest() -> None:
    bundle = planted("als")
    assert bundle.manifest.fold_in is not None
    flat = np.array(bundle.source_items.vectors)
    flat[:, 2] = 0.0
    spec = bundle.manifest.fold_in.model_copy(update={"regularisation": (0.0,)})
    fold_in = FoldIn(spec, replace(bundle.source_items, vectors=flat))
    history = (("s00003", 5.0), ("s00009", 1.0))
    base, parts = fold_in.parts(*usable_ratings(bundle.source_items.ids, history))
    vector = fold_in(history)
    assert vector is not None
    np.testing.assert_allclose(base + parts.sum(axis=0), vector, atol=1e-5)
