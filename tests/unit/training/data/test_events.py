"""A file of events is read alike in each form, and joins the ratings of its domain alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from diffcdr.event_weights import EventWeights
from diffcdr.list_formats import ListFormat, write_lists
from training.data.domains import load_domain
from training.data.doubts import Rules
from training.data.events import read_events

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
    assert read_events(path).frame.equals(EVENTS.with_columns(type=pl.lit("rating")))
    typed = EVENTS.with_columns(
        pl.Series("rating", [4.5, None, None, 3.0]), pl.Series("type", ["rating", "click", "purchase", "click"])
    )
    write_lists(typed.lazy(), path, kind)
    assert read_events(path).frame.equals(typed)


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


def test_events_without_a_rating_count_by_their_type_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    path, ratings = tmp_path / "events.parquet", tmp_path / "films.csv"
    pl.DataFrame({"user_id": ["bob"], "item_id": ["f1"], "rating": [4.0]}).write_csv(ratings)
    kinds = ["purchase", "click", "impression", "wish", "click", "rating"]
    pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(len(kinds))],
            "item_id": ["f1"] * len(kinds),
            "rating": [None, None, None, None, 2.0, None],
            "domain": ["source"] * len(kinds),
            "timestamp": [1_767_952_800] * len(kinds),
            "type": kinds,
        },
        schema_overrides={"rating": pl.Float64},
    ).write_parquet(path)

    def found(weights: EventWeights | None) -> tuple[dict[str, float], str, dict[str, int]]:
        domain = load_domain(ratings, events=read_events(path, weights=weights), rules=Rules("source"))
        users = (domain.users[user] for user in domain.user_rows)
        return dict(zip(users, domain.ratings.tolist(), strict=True)), domain.file.how["events"], domain.file.cleaning

    by_user, how, dropped = found(None)
    assert by_user == {"bob": 4.0, "u0": 5.0, "u4": 2.0}
    assert how.endswith("3 more without a weight left out") and dropped["missing_rating"] == 1
    by_user, how, _ = found(EventWeights.parse("click=0.5, purchase=0.75, wish=0.25", name="--event-weights"))
    assert by_user == {"bob": 4.0, "u0": 4.0, "u1": 3.0, "u3": 2.0, "u4": 2.0}
    assert how.endswith("1 more without a weight left out")
