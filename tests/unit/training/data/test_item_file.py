"""Files of items become typed attributes, the same ones whatever file holds them, and come back from a bundle."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.bundle.attributes import Attribute, ItemAttributes
from diffcdr.bundle.ids import IdTable
from diffcdr.errors import InputError
from training.data.item_file import ItemFile, KnownItems, read_items
from training.data.titles import TitleFile, item_titles

ITEMS = IdTable.build(["b1", "b2", "b3", "7"])
ROWS: list[dict[str, Any]] = [
    {"item_id": "b2", "title": "Two", "price": 9.5, "pages": 300, "genre": ["crime", "été"], "new": True, "lang": "en"},
    {"item_id": "b1", "title": "One", "price": None, "pages": 120, "genre": ["crime"], "new": None, "lang": "fr"},
    {"item_id": "7", "title": None, "price": 0.25, "pages": None, "genre": None, "new": False, "lang": None},
    {"item_id": "other", "title": "X", "price": 1.0, "pages": 1, "genre": ["none"], "new": True, "lang": "xx"},
]
KNOWN: dict[str, dict[str, Any]] = {
    "b1": {"pages": 120, "genre": ["crime"], "lang": "fr"},
    "b2": {"price": 9.5, "pages": 300, "genre": ["crime", "été"], "new": True, "lang": "en"},
    "b3": {},
    "7": {"price": 0.25, "new": False},
}


def read(path: Path, items: IdTable = ITEMS) -> KnownItems:
    return read_items(ItemFile(path), items)


def said(known: KnownItems) -> dict[str, dict[str, Any]]:
    return {ITEMS[row]: known.attributes.of(row) for row in range(len(ITEMS))}


def write(path: Path) -> Path:
    if path.suffix == ".parquet":
        pl.DataFrame(ROWS).write_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS, indent=1))
    else:
        frame = pl.DataFrame(ROWS).with_columns(pl.col("genre").list.join("|"))
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["i.parquet", "i.csv", "i.tsv", "i.jsonl", "i.json"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, name: str) -> None:
    known = read(write(tmp_path / name))
    assert said(known) == KNOWN
    kinds = {column: each.kind for column, each in known.attributes.columns.items()}
    assert kinds == {"price": "number", "pages": "number", "genre": "category", "new": "boolean", "lang": "text"}
    assert known.titles == ["", "One", "Two", ""]  # in the order of the ids: 7, b1, b2, b3
    assert known.warnings == ()


def test_what_was_recognised_and_found_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("sku\tname\tprice\nb1\tOne\t2\nb3\tThree\t4\nother\tX\t1\n")
    file = read(tmp_path / "c.tsv").file
    assert (file.name, file.columns) == ("c.tsv", {"item": "sku", "title": "name"})
    assert (file.rows, file.items, file.items_with_row) == (3, 4, 2)
    titles = item_titles(TitleFile(tmp_path / "c.tsv"), ITEMS)
    assert titles.file == file


def test_numbers_take_the_smallest_kind_that_holds_them() -> None:
    present = np.ones(2, dtype=bool)
    for values, kind in (
        (np.array([1, -5]), np.int32),
        (np.array([1, 2**40]), np.int64),
        (np.array([0.5, 3.0]), np.float32),
        (np.array([0.1, 3.0]), np.float64),
        (np.array([2.0, 3.0]), np.int32),
        (np.array([2.0, 1e300]), np.float64),
    ):
        packed = Attribute.numbers(values, present).values
        assert packed.dtype == kind and packed.tolist() == values.tolist()


def test_names_with_zeros_are_no_numbers_and_dates_sort_as_text(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("item_id,shelf,tags\nb1,007,x\nb2,12,\n")
    assert said(read(tmp_path / "i.csv"))["b1"] == {"shelf": "007", "tags": ["x"]}
    pl.DataFrame({"item_id": ["b1", "b2"], "day": [datetime.date(2020, 1, 9), None]}).write_parquet(
        tmp_path / "d.parquet"
    )
    assert said(read(tmp_path / "d.parquet"))["b1"] == {"day": "2020-01-09"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,price\nb1,1\nb1,2\n", "conflicting rows for 1 items, such as 'b1'"),
        ("item_id,available\nb1,soon\n", "'available' holds no boolean values; write true or false"),
        ("item_id,price\nzz,1\n", "0 of 4 items are in it.*--accept unmatched-titles"),
        ("name,price\nb1,1\n", "no column known as item"),
        ("item_id," + ",".join(f"c{n}" for n in range(65)) + "\nb1" + ",1" * 65 + "\n", "65 columns .* 64 can be kept"),
        (b"item_id,lang\nb1,caf\xe9\n", "--encoding latin-1"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    (tmp_path / "i.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read(tmp_path / "i.csv")


def test_records_are_refused_and_long_text_is_left_out_with_a_word(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["b1"], "author": [{"name": "A"}]}).write_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match="'author' holds Struct"):
        read(tmp_path / "r.parquet")
    pl.DataFrame({"item_id": ["b1", "b2"], "plot": ["x" * 300, "y"], "none": [None, None]}).write_parquet(
        tmp_path / "l.parquet"
    )
    known = read(tmp_path / "l.parquet")
    assert not known.attributes.columns
    assert ["'plot' is left out" in known.warnings[0], "'none' is left out" in known.warnings[1]] == [True, True]


ids = st.lists(st.sampled_from(ITEMS.take(np.arange(len(ITEMS)))), unique=True, min_size=2)
words = st.text(
    st.characters(codec="utf-8", exclude_characters="|\0", exclude_categories=["Cs", "Z", "Cc"]), min_size=1
)


@settings(max_examples=40)
@given(ids, st.data())
def test_whatever_is_written_is_what_is_known(named: list[str], data: st.DataObject) -> None:
    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return [data.draw(st.none() | values) for _ in named]

    frame = pl.DataFrame(
        {
            "item_id": named,
            "n": pl.Series(column(st.floats(allow_nan=False, allow_infinity=False)), dtype=pl.Float64),
            "i": pl.Series(column(st.integers(-(2**63), 2**63 - 1)), dtype=pl.Int64),
            "b": pl.Series(column(st.booleans()), dtype=pl.Boolean),
            "c": pl.Series(column(st.lists(words, max_size=4)), dtype=pl.List(str)),
        }
    )
    from training.data.item_file import _attribute  # noqa: PLC0415, PLC2701 - without a file: many examples

    rows = ITEMS.rows(named)
    made = {name: _attribute(Path("x"), name, frame[name], rows, len(ITEMS)) for name in "nibc"}
    kept = ItemAttributes({name: each for name, each in made.items() if isinstance(each, Attribute)})
    for row, at in zip(rows.tolist(), range(len(named)), strict=True):
        wanted = {name: frame[name][at] for name in "nib" if frame[name][at] is not None}
        if (listed := frame["c"].to_list()[at]) and (unique := sorted(set(listed), key=str.encode)):
            wanted["c"] = unique
        assert kept.of(row) == wanted


def test_a_million_items_would_take_less_than_150_megabytes() -> None:
    n = 100_000
    rng, present = np.random.default_rng(0), np.ones(n, dtype=bool)
    indptr = np.arange(n + 1, dtype=np.int64) * 2
    genres = [f"genre {each:03}" for each in range(300)]
    columns = {
        "price": Attribute.numbers(rng.uniform(1, 90, n), present),
        "year": Attribute.numbers(rng.integers(1900, 2030, n), rng.random(n) < 0.9),
        "new": Attribute.booleans(rng.random(n) < 0.1, present),
        "language": Attribute.texts(rng.integers(0, 40, n), present, [f"l{each:02}" for each in range(40)]),
        "genre": Attribute.categories(indptr, np.sort(rng.integers(0, 300, (n, 2)), axis=1).ravel(), genres),
    }
    assert ItemAttributes(columns).nbytes * 10 < 150e6
