"""Capped lists are the greedy choice from the whole list, on every path, as a slow reading says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.filtering import capped_lists
from diffcdr.filtering.caps import CapsError, caps_of
from diffcdr.filtering.changes import ChangeLog, ItemChange
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.bundles import write_bundle

ITEMS = 250
KINDS: dict[str, dict[str, Any]] = {"affine": {}, "sparse": {"neighbours": True}}


@pytest.fixture(scope="module", params=KINDS)
def recommender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, items=ITEMS, attributes=True, objective="ranking", **KINDS[request.param])
    return Recommender(open_bundle(path), device="cpu")


def answer(recommender: Recommender, query: Query) -> Recommendation:
    (found,) = recommender.answer([query])
    assert isinstance(found, Recommendation)
    return found


Known = dict[str, dict[str, Any]]


def known_items(recommender: Recommender, changes: dict[str, ItemChange]) -> Known:
    items = recommender.bundle.target_items
    known = {item: dict(items.attributes.of(row)) for row, item in enumerate(items.ids.take(np.arange(ITEMS)))}
    for item, change in changes.items():
        if change.tags is not None:
            known[item]["tags"] = list(change.tags)
    return known


def greedy(ranked: list[str], known: Known, caps: dict[str, int], k: int) -> list[str]:
    """As the reference says it, an item at a time."""
    counts: Counter[tuple[str, Any]] = Counter()
    taken: list[str] = []
    for item in ranked:
        values = [(name, value) for name in caps for value in np.atleast_1d(known[item].get(name, [])).tolist()]
        if len(taken) < k and all(counts[name, value] < caps[name] for name, value in values):
            counts.update(values)
            taken.append(item)
    return taken


limits = st.integers(1, 4)
caps_drawn = st.dictionaries(
    st.sampled_from(["language", "genre", "tags", "new", "price", "pages"]), limits, min_size=1, max_size=3
)
queries = st.builds(
    Query,
    st.sampled_from(["u00001", "u00030", "v00001", "nobody"]),
    k=st.sampled_from([1, 5, 20, ITEMS]),
    exclude_items=st.lists(st.integers(0, ITEMS).map(lambda row: f"t{row:05d}"), max_size=9).map(tuple),
    history=st.sampled_from([(), (("s00003", 5.0), ("s00007", 1.0))]),
    offset=st.sampled_from([None, None, 0, 3]),
    filter=st.sampled_from(
        [None, {"where": {"genre": {"any": ["crime"]}}}, {"where": {"genre": {"none": ["crime"]}}}]
    ).map(ItemFilter.of),
)
TAGGED = {f"t{row:05d}": ItemChange(None, ("sale", "new here")[: row % 3]) for row in range(0, ITEMS, 4)}


def test_a_capped_list_is_the_greedy_choice_from_the_whole_list(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capped_lists, "ROUND_ITEMS", 3)
    log = ChangeLog()
    log.take(TAGGED)
    known = known_items(recommender, TAGGED)

    @settings(max_examples=40)
    @given(queries, caps_drawn)
    @example(Query("u00030", k=20), {"language": 2})
    @example(Query("nobody", k=ITEMS), {"genre": 1})
    @example(Query("u00030", k=ITEMS), {"tags": 1, "price": 1})
    def compare(query: Query, caps: dict[str, int]) -> None:
        asked = replace(query, changes=log.now)
        whole = answer(recommender, replace(asked, k=ITEMS, offset=None))
        score_of = dict(zip(whole.item_ids, whole.scores, strict=True))
        start = query.offset or 0
        expected = greedy(whole.item_ids, known, caps, start + query.k)[start:]
        found = answer(recommender, replace(asked, caps=caps_of(caps)))
        assert found.item_ids == expected
        assert found.scores == [score_of[item] for item in expected]

    compare()


def test_a_capped_diverse_list_keeps_to_its_caps_and_is_as_long_as_they_let_it_be(recommender: Recommender) -> None:
    known = known_items(recommender, {})
    for user, caps, k in (("u00030", {"language": 3}, 20), ("u00001", {"genre": 2, "new": 4}, 9), ("v00001", {}, 9)):
        query = Query(user, k=k, diversity=0.4, caps=caps_of(caps))
        found = answer(recommender, query).item_ids
        assert greedy(found, known, caps, k) == found  # no item is one too many
        ranked = answer(recommender, Query(user, k=ITEMS)).item_ids
        assert found[0] == ranked[0]
        # Nothing that the caps still admit was left out of a list that is not full.
        left = [item for item in ranked if item not in found]
        assert len(found) == k or greedy([*found, *left], known, caps, k) == found
    assert answer(recommender, replace(query, caps=())) == answer(recommender, query)


def test_no_capped_answer_depends_on_what_else_is_asked_and_bulk_gives_the_same(recommender: Recommender) -> None:
    wanted: list[dict[str, int]] = [{}, {"language": 1}, {"genre": 2, "tags": 1}]
    users = ["u00001", "u00030", "v00001", "nobody"]
    asked = [
        Query(user, k=k, caps=caps_of(caps), diversity=diversity)
        for user in users
        for caps in wanted
        for k in (3, 120)
        for diversity in (0.0, 0.3)
    ]
    assert recommender.answer(asked) == [answer(recommender, query) for query in asked]
    for caps in wanted:
        top = recommender.top_rows(users, 8, caps=caps_of(caps))
        for user, rows in zip(users, top.items, strict=True):
            found = recommender.recommend(user, k=8, caps=caps)
            assert recommender.bundle.target_items.ids.take(rows[rows >= 0]) == found.item_ids
    popular = recommender.popular(8, caps=caps_of(wanted[2]))
    assert popular.item_ids == recommender.recommend("nobody", k=8, caps=wanted[2]).item_ids


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({"prize": 1}, "caps/prize: the bundle has no such attribute; it has genre, language"),
        ({"available": 1}, "caps/available: the bundle has no such attribute"),
        ({"genre": 0}, "caps/genre: a cap is a whole number, at least 1"),
        ({"a/b": True}, "caps/a~1b: a cap is a whole number"),
        (dict.fromkeys("abcde", 1), "caps: at most 4 attributes can be capped"),
    ],
)
def test_what_cannot_be_capped_is_said(recommender: Recommender, caps: dict[str, int], message: str) -> None:
    with pytest.raises(CapsError) as refused:
        recommender.recommend("u00030", caps=caps)
    assert message in str(refused.value) and isinstance(refused.value, InputError)
