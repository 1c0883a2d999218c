"""Filtered lists are the whole lists less what the filter does not allow, on every path, as a slow reading says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffcdr.bundle.reader import open_bundle
from diffcdr.filtering import catalogue
from diffcdr.filtering import subset as module
from diffcdr.filtering.changes import ChangeLog, ItemChange, ItemChanges
from diffcdr.filtering.item_filter import FilterError, ItemFilter
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.search.diversity import diversify, pool_size
from diffcdr.search.topk import TopK
from tests.bundles import write_bundle

ITEMS = 250
WORDS = {
    "language": ["de", "en", "fr", "xx", "e"],
    "genre": ["crime", "drama", "poetry", "travel", "none such"],
    "tags": ["gift", "sale", "summer"],
}
OPEN: dict[str, Any] = {"items": None, "available": True}
KINDS: dict[str, dict[str, Any]] = {"affine": {}, "graph": {"kind": "onnx"}, "sparse": {"neighbours": True}}


@pytest.fixture(scope="module", params=KINDS)
def recommender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, items=ITEMS, attributes=True, objective="ranking", **KINDS[request.param])
    return Recommender(open_bundle(path), device="cpu")


def words(name: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(WORDS[name]), min_size=1, max_size=3)


def conditions(name: str) -> st.SearchStrategy[dict[str, Any]]:
    if name == "new":
        asked: dict[str, st.SearchStrategy[Any]] = {each: st.booleans() for each in ("eq", "ne")}
    elif name in ("price", "pages"):
        numbers = st.sampled_from([0.5, 1.25, 1.3, 2, 300, 300.5, -1, 1e300, 10**400])
        asked = dict.fromkeys(("eq", "ne", "lt", "lte", "gt", "gte"), numbers)
    elif name == "language":
        one = st.sampled_from(WORDS[name])
        asked = {**dict.fromkeys(("eq", "ne", "lt", "lte", "gt", "gte"), one), "any": words(name), "none": words(name)}
    else:
        asked = dict.fromkeys(("any", "all", "none"), words(name))
    return st.fixed_dictionaries({}, optional=asked).filter(bool)


wheres = st.fixed_dictionaries(
    {}, optional={name: conditions(name) for name in ("price", "pages", "language", "new", "genre", "tags")}
)
ids = st.lists(st.integers(0, ITEMS + 5).map(lambda row: f"t{row:05d}"), max_size=40)
filters = st.builds(
    lambda where, items, available: {"where": where, "items": items, "available": available},
    wheres,
    st.none() | ids,
    st.booleans(),
)
changes = st.lists(
    st.dictionaries(
        st.integers(0, ITEMS + 5).map(lambda row: f"t{row:05d}"),
        st.builds(
            ItemChange,
            st.none() | st.booleans(),
            st.none() | st.lists(st.sampled_from(WORDS["tags"]), unique=True, max_size=2).map(tuple),
        ),
        max_size=30,
    ),
    max_size=3,
)
queries = st.builds(
    Query,
    st.sampled_from(["u00001", "u00030", "v00001", "nobody"]),
    k=st.sampled_from([1, 5, 40, ITEMS]),
    exclude_items=st.lists(st.integers(0, ITEMS).map(lambda row: f"t{row:05d}"), max_size=9).map(tuple),
    exclude_seen=st.booleans(),
    diversity=st.sampled_from([0.0, 0.0, 0.3]),
    history=st.sampled_from([(), (("s00003", 5.0), ("s00007", 1.0))]),
    personalise=st.sampled_from([True, True, False]),
    offset=st.sampled_from([None, None, 0, 7]),
)


def allows(wanted: dict[str, Any], item: str, known: dict[str, Any], change: ItemChange) -> bool:
    """As the reference says it, an item at a time."""
    if change.tags is not None:
        known = {**known, "tags": list(change.tags)}
    available = known.get("available", True) if change.available is None else change.available
    if wanted["available"] and not available:
        return False
    if wanted["items"] is not None and item not in wanted["items"]:
        return False
    return all(meets(asked, known.get(name)) for name, asked in wanted["where"].items())


def meets(asked: dict[str, Any], value: Any) -> bool:
    have = set() if value is None else set(value) if isinstance(value, list) else {value}
    if value is None or value == []:
        return set(asked) == {"none"}
    compared = {
        "eq": lambda than: value == than,
        "ne": lambda than: value != than,
        "lt": lambda than: value < than,
        "lte": lambda than: value <= than,
        "gt": lambda than: value > than,
        "gte": lambda than: value >= than,
        "any": lambda than: bool(have & set(than)),
        "all": lambda than: have >= set(than),
        "none": lambda than: not have & set(than),
    }
    return all(compared[how](than) for how, than in asked.items())


def told(said: list[dict[str, ItemChange]]) -> tuple[ItemChanges, dict[str, ItemChange]]:
    log = ChangeLog()
    last: dict[str, ItemChange] = {}
    for each in said:
        log.take(each)
        last |= each
    return log.now, last


def answer(recommender: Recommender, query: Query) -> Recommendation:
    (found,) = recommender.answer([query])
    assert isinstance(found, Recommendation)
    return found


def test_a_filtered_list_is_the_whole_list_less_what_is_not_allowed(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = recommender.bundle.target_items
    row_of = {item: row for row, item in enumerate(items.ids.take(np.arange(ITEMS)))}

    @settings(max_examples=20)
    @given(queries, filters, changes, st.booleans())
    @example(Query("u00030"), {"where": {}, "items": ["t00003"], "available": True}, [], False)
    @example(Query("nobody", offset=7), {"where": {"genre": {"any": ["none such"]}}, **OPEN}, [], False)
    def compare(query: Query, wanted: dict[str, Any], said: list[dict[str, ItemChange]], laid_out: bool) -> None:
        monkeypatch.setattr(module, "LAID_OUT_ITEMS", 1 if laid_out else 4_096)
        monkeypatch.setattr(module, "SEARCHES_BEFORE", 0)
        now, last = told(said)
        asked = replace(query, filter=ItemFilter.of(wanted), changes=now)
        found = answer(recommender, asked)
        everything = answer(
            recommender,
            replace(query, k=ITEMS, diversity=0.0, offset=None, filter=ItemFilter(available=False)),
        )
        left = [
            (item, score)
            for item, score in zip(everything.item_ids, everything.scores, strict=True)
            if allows(wanted, item, items.attributes.of(row_of[item]), last.get(item, ItemChange()))
        ]
        if query.diversity and found.strategy != "popular":
            length = query.k if query.offset is None else max(query.offset + query.k, 500)
            left = diverse(left, row_of, items.vectors, length, query.diversity)
        start = query.offset or 0
        assert [*zip(found.item_ids, found.scores, strict=True)] == left[start : start + query.k]
        assert (found.empty_reason is None) == bool(found.item_ids)
        if not found.item_ids and not any(
            allows(wanted, item, items.attributes.of(row), last.get(item, ItemChange())) for item, row in row_of.items()
        ):
            assert found.empty_reason == "no_item_allowed"
        elif not found.item_ids:
            assert found.empty_reason == ("past_the_end" if left else "all_excluded")

    compare()


def diverse(
    left: list[tuple[str, float]],
    row_of: dict[str, int],
    vectors: Any,
    k: int,
    diversity: float,
) -> list[tuple[str, float]]:
    """What is chosen of the best that are ``left``, a list of one user."""
    pool = left[: pool_size(k, ITEMS)]
    width = max(k, len(pool))
    rows = np.full((1, width), -1, dtype=np.int32)
    scores = np.full((1, width), -np.inf, dtype=np.float32)
    rows[0, : len(pool)] = [row_of[item] for item, _ in pool]
    scores[0, : len(pool)] = [score for _, score in pool]
    names = {row_of[item]: (item, score) for item, score in pool}
    chosen, _ = diversify(rows, scores, vectors, k=k, diversity=diversity)
    return [names[row] for row in chosen[0].tolist() if row >= 0]


def test_no_answer_depends_on_what_else_is_asked_and_bulk_gives_the_same(recommender: Recommender) -> None:
    log = ChangeLog()
    log.take({f"t{row:05d}": ItemChange(available=False) for row in range(0, ITEMS, 3)})
    wanted: list[dict[str, Any]] = [
        {},
        {"where": {"genre": {"any": ["crime"]}}},
        {"items": ["t00001", "t00003", "t00004"]},
        {"where": {"price": {"gte": 0.25}}},
    ]
    users = ["u00001", "u00030", "v00001", "nobody"]
    asked = [
        Query(user, k=k, filter=ItemFilter.of(some), changes=log.now)
        for user in users
        for some in wanted
        for k in (3, 120)
    ]
    alone = [answer(recommender, query) for query in asked]
    assert recommender.answer(asked) == alone
    for some in wanted:
        top = recommender.top_rows(users, 3, filter=ItemFilter.of(some), changes=log.now)
        for user, rows in zip(users, top.items, strict=True):
            found = answer(recommender, Query(user, k=3, filter=ItemFilter.of(some), changes=log.now))
            assert recommender.bundle.target_items.ids.take(rows[rows >= 0]) == found.item_ids
    compared = recommender.recommend_many(users, k=3, filter=wanted[1])
    assert compared["item_id"].to_list() == [
        item for user in users for item in recommender.recommend(user, k=3, filter=wanted[1]).item_ids
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"where": {"prize": {"lt": 2}}},
            "/where/prize: the bundle has no such attribute; it has genre, language",
        ),
        ({"where": {"price": {"any": ["a"]}}}, "filter/where/price/any: price is a number; it takes eq, ne, lt"),
        ({"where": {"price": {"lt": "2"}}}, "filter/where/price/lt: price is a number, and '2' is not one"),
        ({"where": {"price": {"eq": True}}}, "price is a number, and True is not one"),
        ({"where": {"language": {"lt": 2}}}, "language is a text, and 2 is not one"),
        ({"where": {"new": {"gt": 1}}}, "new is a boolean; it takes eq, ne"),
        ({"where": {"genre": {"eq": "crime"}}}, "genre is a category; it takes any, all, none"),
        ({"where": {"available": {"eq": True}}}, "set available to true or false next to where"),
        ({"where": {"price": {}}}, "give one of any, all, none, eq"),
        ({"where": {"price": {"lt": float("nan")}}}, "filter"),
        ({"were": {}}, "filter/were: Extra inputs are not permitted"),
        ({"items": [""]}, "filter/items/0: String should have at least 1 character"),
        ({"items": ["x"] * 100_001}, "filter/items: Tuple should have at most 100000 items"),
    ],
)
def test_what_cannot_be_asked_is_said_with_its_place(
    recommender: Recommender, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(FilterError, match=re.escape(message)):
        recommender.recommend("u00001", filter=wanted)


def test_what_was_worked_out_is_kept_in_bounds(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "KEPT_BYTES", 10 * 2 * ITEMS)
    mine = recommender.catalogue
    first = mine.allowed(ItemFilter.of({"items": ["t00001", "t00002"]}), None)
    again = mine.allowed(ItemFilter.of({"items": ["t00002", "t00001", "t00002"]}), None)
    assert first is not None and again is not None
    assert first.meeting is again.meeting and first.key == again.key
    for row in range(100):
        mine.allowed(ItemFilter.of({"items": [f"t{row:05d}"]}), None)
        assert mine._bytes <= catalogue.KEPT_BYTES and 0 < len(mine._kept) < 20
    assert sum(kept.nbytes for kept in mine._kept.values()) == mine._bytes


def test_changes_are_followed_however_far_behind(recommender: Recommender) -> None:
    """One catalogue that sees every change, one that sees few, and one that sees the last alone withhold the same."""
    log, rng = ChangeLog(), np.random.default_rng(0)
    items, layout = recommender.bundle.target_items, {"offset": 0.0, "typical_norm": 1.0}
    exact = TopK(items.vectors, items.biases)
    often, seldom = (catalogue.Catalogue(items, exact, **layout) for _ in range(2))
    for step in range(200):
        said = [None, True, False][int(rng.integers(3))]
        log.take({f"t{row:05d}": ItemChange(available=said) for row in rng.integers(0, ITEMS + 9, 4).tolist()})
        seen = often.allowed(None, log.now)
        if step % 90 == 89:
            fresh = catalogue.Catalogue(items, exact, **layout).allowed(None, log.now)
            rare = seldom.allowed(None, log.now)
            assert seen is not None and rare is not None and fresh is not None
            assert seen.withheld is not None and rare.withheld is not None and fresh.withheld is not None
            assert seen.withheld.tolist() == rare.withheld.tolist() == fresh.withheld.tolist()
