"""A file of events is read alike in each form, and joins the ratings of its domain alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from diffcdr.list_files import ListFormat, write_lists
from training.data.domains import load_domain
from training.data.events import read_events
from training.data.sense import Rules

EVENTS = pl.DataFrame(
    {
        "user_id": ["007", "7", "ann", "ann"],
        "item_id": ["1e5", "f1", "f1", "b1"],
        "rating": [4.5, 2.0, 1.0, 3.0],
        "domain": ["source", "source", "source", "target"],
        "timestamp": [1_767_952_800, None, 1_767_952_800, 0],
    }
)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_each_form_says_the_same(kind: ListFormat, tmp_path: Path) -> None:
    path = tmp_path / f"events.{kind}"
    write_lists(EVENTS.lazy(), path, kind)
    assert read_events(path).frame.equals(EVENTS)


@pytest.mark.parametrize("times", [True, False])
def test_events_are_ratings_of_their_domain_and_the_newest_counts(times: bool, tmp_path: Path) -> None:
    path, ratings = tmp_path / "events.parquet", tmp_path / "films.csv"
    EVENTS.write_parquet(path)
    old = {"user_id": ["ann", "bob", "7"], "item_id": ["f1", "f1", "f1"], "rating": [5.0, 4.0, 4.0]}
    # In milliseconds, an hour earlier than the events.
    pl.DataFrame(old | ({"timestamp": [1_767_949_200_000] * 3} if times else {})).write_csv(ratings)
    domain = load_domain(ratings, events=read_events(path), rules=Rules("source"))
    found = {
        (domain.users[user], domain.items[item]): rating
        for user, item, rating in zip(domain.user_rows, domain.item_rows, domain.ratings, strict=True)
    }
    # Of 7 the event has no time: older than a rating with one, and of equal standing where none has.
    assert found == {("007", "1e5"): 4.5, ("7", "f1"): 4.0 if times else 3.0, ("ann", "f1"): 1.0, ("bob", "f1"): 4.0}
    assert (domain.file.rows_read, domain.file.rows_kept) == (6, 4)
