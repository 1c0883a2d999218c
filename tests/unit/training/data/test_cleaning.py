from __future__ import annotations

import math
import random
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.errors import InputError
from training.data.cleaning import clean, ids_of
from training.data.findings import REASONS
from training.data.readers import DEFECTS, RawRatings

Row = tuple[str | None, str | None, float | None, int | None, str | None]


def raw_of(rows: list[Row]) -> RawRatings:
    schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}
    frame = pl.DataFrame(rows, schema={**schema, "defect": DEFECTS}, orient="row")
    return RawRatings(frame, name="films.csv", sha256="0" * 64)


def rows_of(rows: list[Row]) -> list[tuple[str, str, float, int | None]]:
    return clean(raw_of(rows)).frame.with_columns(pl.col("user_id", "item_id").cast(pl.String)).rows()


def test_each_reason_is_counted_and_the_first_bad_row_named() -> None:
    bad: list[tuple[str, Row]] = [
        ("excluded_user", ("gone", "i", 99.0, None, None)),
        ("broken_row", (None, None, None, None, "broken_row")),
        ("id_not_exact", (None, "i", 3.0, None, "id_not_exact")),
        ("missing_user", (None, "i", 3.0, None, None)),
        ("missing_user", (" ", "i", 3.0, None, None)),
        ("missing_item", ("u", "", 3.0, None, None)),
        ("id_too_long", ("é" * 129, "i", 3.0, None, None)),
        ("id_not_text", ("u\0", "i", 3.0, None, None)),
        ("id_not_text", ("u", "\ufffdi", 3.0, None, None)),
        ("rating_not_a_number", ("u", "i", None, None, "rating_not_a_number")),
        ("missing_rating", ("u", "i", None, None, None)),
        ("rating_not_finite", ("u", "i", math.nan, None, None)),
        ("rating_not_finite", ("u", "i", math.inf, None, None)),
        ("rating_out_of_range", ("u", "i", 0.5, None, None)),
        ("rating_out_of_range", ("u", "i", 5.5, None, None)),
    ]
    good: list[Row] = [("é" * 128, "i", 1.0, None, None), ("u", "i", 5.0, None, None), ("u", "i", 4.0, None, None)]
    raw = raw_of([good[0], *(row for _, row in bad), *good[1:]])
    cleaned = clean(raw, excluded_users=pl.Series(["gone", "never seen"]))
    expected: dict[str, int] = defaultdict(int, duplicate=1)
    for reason, _ in bad:
        expected[reason] += 1
    report = cleaned.report
    assert report.dropped == expected
    assert set(report.dropped) == set(REASONS)
    assert (report.first_bad_row, report.first_bad_reason) == (3, "broken_row")
    assert report.rows_read == report.rows_kept + sum(report.dropped.values()) == 18
    assert "2 rating_not_finite" in report.summary()
    assert "first bad row: 3" in report.summary()


@pytest.mark.parametrize(
    ("ratings", "kept"),
    [
        ([(1.0, 10), (5.0, 20)], (5.0, 20)),
        ([(5.0, 20), (1.0, 10)], (5.0, 20)),
        ([(1.0, None), (4.0, None)], (2.5, None)),
        ([(1.0, 10), (5.0, None)], (1.0, 10)),
        ([(1.0, 20), (2.0, 20), (5.0, 10)], (1.5, 20)),
    ],
)
def test_duplicates_keep_the_last_by_time_else_the_mean(
    ratings: list[tuple[float, int | None]], kept: tuple[float, int | None]
) -> None:
    rows: list[Row] = [("u", "i", rating, time, None) for rating, time in ratings]
    other: Row = ("v", "i", 3.0, 1, None)
    assert rows_of([other, *rows]) == [("u", "i", *kept), ("v", "i", 3.0, 1)]


small = st.lists(
    st.tuples(
        st.sampled_from(["a", "B", "é", "zz", ""]),
        st.sampled_from(["x", "Y", "10", "9"]),
        st.sampled_from([1.0, 2.1, 3.3, 4.7, 5.0, 9.0]),
        st.none() | st.integers(0, 3),
        st.none(),
    ),
    max_size=40,
).map(lambda rows: [("a", "x", 3.0, None, None), *rows])


@settings(max_examples=150)
@given(rows=small, seed=st.integers(0, 99))
def test_row_order_does_not_matter_and_a_slow_version_agrees(rows: list[Row], seed: int) -> None:
    result = rows_of(rows)
    shuffled = rows.copy()
    random.Random(seed).shuffle(shuffled)
    assert rows_of(shuffled) == result  # to the last bit

    groups: dict[tuple[bytes, bytes], list[tuple[float, int | None]]] = defaultdict(list)
    for user, item, rating, time, _ in rows:
        if user and item and rating is not None and rating <= 5:
            groups[user.encode(), item.encode()].append((rating, time))
    slow = []
    for (user_bytes, item_bytes), group in sorted(groups.items()):
        last = max((time for _, time in group if time is not None), default=None)
        newest = [rating for rating, time in group if time == last]
        slow.append((user_bytes.decode(), item_bytes.decode(), pytest.approx(sum(newest) / len(newest)), last))
    assert result == slow


@given(rows=small)
def test_codes_are_rows_in_byte_order(rows: list[Row]) -> None:
    frame = clean(raw_of(rows)).frame
    for name in ("user_id", "item_id"):
        encoded = [text.encode() for text in ids_of(frame[name])]
        assert encoded == sorted(set(encoded))
        assert frame[name].n_unique() == len(encoded)


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        (("u", "i", 70.0, None, None), "must lie in 1 to 5"),
        (("u", "i", None, None, "rating_not_a_number"), "which column holds them"),
        ((None, "i", 3.0, None, None), "needs a user id"),
    ],
)
def test_nothing_left_names_file_row_and_remedy(row: Row, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"films\.csv: none of its 2 rows .* first bad row: 1 .*{remedy}"):
        clean(raw_of([row, row]))


def test_the_range_can_be_set() -> None:
    assert clean(raw_of([("u", "i", 9.0, None, None)]), rating_range=(0, 10)).report.rows_kept == 1


def test_leaving_users_out_is_as_if_they_had_never_been_there() -> None:
    rows: list[Row] = [(user, item, 4.0, None, None) for user in ("a", "gone", "b") for item in ("i", "j")]
    without = clean(raw_of([row for row in rows if row[0] != "gone"]))
    cleaned = clean(raw_of(rows), excluded_users=pl.Series(["gone"]))
    assert cleaned.frame.equals(without.frame)
    assert (cleaned.report.dropped, cleaned.report.first_bad_row) == ({"excluded_user": 2}, None)
    with pytest.raises(InputError, match="all of its 6 rows belong to excluded users"):
        clean(raw_of(rows), excluded_users=pl.Series(["a", "b", "gone"]))
