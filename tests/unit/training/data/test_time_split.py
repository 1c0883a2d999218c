"""``--split time``: what training and choices look at ends at the cut, in both domains."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from diffcdr.bundle.attributes import Attribute, ItemAttributes
from diffcdr.bundle.ids import IdTable
from diffcdr.errors import InputError
from tests.unit.training.tiny import load
from training.config import SplitConfig
from training.data.domains import Domain, DomainPair, pair_domains
from training.data.time_split import TimeSplit, moment, split_by_time, times_of
from training.run.division import divide

Row = tuple[str, str, float, int]


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("domains"))


def domain(like: Domain, rows: list[Row]) -> Domain:
    """``rows`` as a domain, its titles and attributes naming the item."""
    rows = sorted(rows)
    users, items = (IdTable.build({str(row[place]) for row in rows}) for place in (0, 1))
    names = items.take(np.arange(len(items)))
    counts = np.arange(len(names)) % 3
    words = [f"word {number}" for number in range(3)]
    attributes = {
        "n": Attribute.numbers(np.array([int(name[1:]) for name in names]), np.ones(len(names), dtype=bool)),
        "tags": Attribute.categories(
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([np.arange(count) for count in counts]),
            words,
        ),
    }
    return replace(
        like,
        users=users,
        items=items,
        user_rows=users.rows_of(np.array([row[0].encode() for row in rows])),
        item_rows=items.rows_of(np.array([row[1].encode() for row in rows])),
        ratings=np.array([row[2] for row in rows], dtype=np.float32),
        timestamps=np.array([row[3] for row in rows], dtype=np.int64),
        titles=[f"title of {name}" for name in names],
        attributes=ItemAttributes(attributes),
    )


def rows_of(found: Domain) -> set[Row]:
    assert found.timestamps is not None
    columns = (
        found.users.take(found.user_rows),
        found.items.take(found.item_rows),
        found.ratings.tolist(),
        found.timestamps.tolist(),
    )
    return set(zip(*columns, strict=True))


def names_of(found: Domain) -> list[str]:
    return found.items.take(np.arange(len(found.items)))


def later_rows(found: TimeSplit) -> set[tuple[str, str, float]]:
    """The test ratings by the ids they stand for."""
    users = found.pair.target.users.take(found.pair.overlap_target[found.split.test])
    items = found.pair.target.items
    table = found.later
    assert (np.diff(table.users * table.n_items + table.items) > 0).all()
    return {
        (users[user], items[item], rating)
        for user, item, rating in zip(table.users, table.items, table.ratings.tolist(), strict=True)
    }


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Ratings of 110 users in both domains: everybody's begin at a moment of their own, many at the same second."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    span = draw(st.sampled_from([3, 40, 1000]))

    def of(first_item: str, begin: np.ndarray) -> list[Row]:
        rows = {}
        for user in range(110):
            for item in rng.choice(15, size=3, replace=False).tolist():
                rows[f"u{user:03}", f"{first_item}{item}"] = (
                    float(rng.integers(1, 6)),
                    int(begin[user] + rng.integers(span)),
                )
        return [(*key, *value) for key, value in rows.items()]

    start = 1_600_000_000
    return of("f", start + rng.integers(span, size=110)), of("b", start + rng.integers(2 * span, size=110))


@given(history=histories(), share=st.sampled_from([0.1, 0.3, 0.5, 0.7]), microseconds=st.booleans())
@settings(max_examples=15)
def test_no_rating_of_training_or_choices_is_later_than_the_cut_and_no_test_rating_earlier(
    domains: DomainPair, history: tuple[list[Row], list[Row]], share: float, microseconds: bool
) -> None:
    source, target = (domain(like, rows) for like, rows in zip((domains.source, domains.target), history, strict=True))
    if microseconds:  # domains may count in different units
        assert target.timestamps is not None
        target = replace(target, timestamps=target.timestamps * 1_000_000)
    whole = pair_domains(source, target)
    try:
        found = split_by_time(whole, test_fraction=share, validation_fraction=0.2, seed=1)
    except InputError as error:
        assert "--split time cuts at" in str(error)
        reject()  # too few users on one side; hypothesis fails where that is most of the time
    past = found.pair
    for side, all_of_it in ((past.source, source), (past.target, target)):
        kept = times_of(all_of_it) <= found.cut
        assert (times_of(side) <= found.cut).all()
        assert rows_of(side) == {row for row, early in zip(sorted(rows_of(all_of_it)), kept, strict=True) if early}
        named = {row[1] for row in rows_of(side)}
        assert set(names_of(side)) == named  # an item that came later is not even a candidate
        assert side.titles == [f"title of {name}" for name in names_of(side)]
        assert [side.attributes.of(row)["n"] for row in range(len(side.items))] == [int(x[1:]) for x in names_of(side)]
        tags = {name: all_of_it.attributes.of(row).get("tags") for row, name in enumerate(names_of(all_of_it))}
        assert [side.attributes.of(row).get("tags") for row in range(len(side.items))] == [
            tags[x] for x in names_of(side)
        ]

    test = {past.target.users[row] for row in past.overlap_target[found.split.test]}
    first = {user: min(row[3] for row in rows_of(target) if row[0] == user) for user in test}
    unit = 1 if microseconds else 1_000_000
    assert all(at * unit > found.cut for at in first.values())
    assert test <= set(past.source.users.take(np.arange(len(past.source.users))))
    assert test.isdisjoint(row[0] for row in rows_of(past.target))
    expected = {row[:3] for row in rows_of(target) if row[0] in test and row[1] in set(names_of(past.target))}
    assert later_rows(found) == expected
    parts = [found.split.train, found.split.validation, found.split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(past.overlap_source)))
    assert all(len(part) for part in parts)
    assert past.source.users.take(past.overlap_source) == past.target.users.take(past.overlap_target)


def planted(domains: DomainPair, *, late: int = 30, seed: int = 0) -> DomainPair:
    """The small domains with times: the last ``late`` shared users come to the target after the others."""
    rng = np.random.default_rng(seed)
    source, target = domains.source, domains.target
    new = np.zeros(len(target.users), dtype=bool)
    new[domains.overlap_target[len(domains.overlap_target) - late :]] = True
    times = np.where(new[target.user_rows], 2_000, 1_000) + rng.integers(900, size=len(target.ratings))
    source = replace(source, timestamps=rng.integers(1_500, size=len(source.ratings)) + 1_000)
    return pair_domains(source, replace(target, timestamps=times))


def test_what_happens_after_the_cut_changes_nothing_that_training_sees(domains: DomainPair) -> None:
    pair = planted(domains, late=15)
    split = SplitConfig(by="time", test_fraction=0.25, validation_fraction=0.2)
    found = divide(pair, split, seed=3)
    assert found.by_time is not None and found.cut == moment(found.by_time.cut)
    target = pair.target
    after = times_of(target) > found.by_time.cut
    changed = replace(target, ratings=np.where(after, 6 - target.ratings, target.ratings).astype(np.float32))
    again = divide(replace(pair, target=changed), split, seed=3)
    assert again.by_time is not None
    for one, other in ((found.pair.source, again.pair.source), (found.pair.target, again.pair.target)):
        assert rows_of(one) == rows_of(other)
    assert later_rows(found.by_time) != later_rows(again.by_time)
    held, likes = found.held_out(), found.likes_from(3.0, 4.0)
    assert len(held.validation) and len(held.train) + len(held.validation) == len(found.pair.target.ratings)
    assert likes.held_out().test.ratings.min() >= 4.0
    assert (likes.split.test == found.split.test).all()
    assert set(zip(*likes.pair.target.disliked, strict=True)) == {
        (user, item)
        for user, item, rating in zip(
            found.pair.target.user_rows, found.pair.target.item_rows, found.pair.target.ratings, strict=True
        )
        if rating < 4.0
    }


def test_seeds_draw_validation_users_and_never_test_users(domains: DomainPair) -> None:
    pair = planted(domains, late=15)
    first, second = (
        split_by_time(pair, test_fraction=0.25, validation_fraction=0.2, min_validation_users=8, seed=seed).split
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first.test, second.test)
    assert first.validation.tolist() != second.validation.tolist()


@pytest.mark.parametrize(
    ("late", "share", "says"),
    [(2, 0.1, "rate in the target for the first time after it"), (15, 0.9, "at least 40 and 10 are needed")],
)
def test_too_few_users_on_either_side_are_refused(domains: DomainPair, late: int, share: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        split_by_time(planted(domains, late=late), test_fraction=share, validation_fraction=0.2, seed=0)


def test_ratings_without_times_are_refused(domains: DomainPair, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs the time of every rating, and films\.csv lacks some or all"):
        split_by_time(domains, test_fraction=0.2, validation_fraction=0.2, seed=0)
    timed = planted(domains)
    with pytest.raises(InputError, match=r"books\.csv lacks"):
        split_by_time(replace(timed, target=domains.target), test_fraction=0.2, validation_fraction=0.2, seed=0)
    with pytest.raises(InputError, match="prepared tables are split by user"):
        SplitConfig(by="time").by_user()


def test_moments() -> None:
    assert moment(1_600_000_000_000_000) == "2020-09-13T12:26:40Z"
    said = [moment(value) for value in (-(2**62), 2**62)]
    assert all(text.endswith(("after 1970", "Z")) for text in said)
    assert len(set(said)) == 2 and all(first != second for first, second in pairwise(said))
