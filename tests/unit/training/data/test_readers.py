from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from diffcdr.errors import InputError
from diffcdr.files.columns import Columns
from diffcdr.files.id_rule import normal_id
from training.data.cleaning import clean
from training.data.readers import RawRatings, read_ratings
from training.data.titles import read_titles

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]

# CSV tells an empty field from a missing one no more than a blank from a quoted blank, so ids have neither here.
ids = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
records = st.lists(
    st.tuples(ids, ids, st.floats(1, 5, allow_nan=False), st.none() | st.integers(0, 2**40)), min_size=1, max_size=20
)


def write_parquet(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "r.parquet")
    return folder / "r.parquet"


def write_csv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "r.csv", quote_style="non_numeric")
    return folder / "r.csv"


def write_tsv_gz(frame: pl.DataFrame, folder: Path) -> Path:
    text = frame.write_csv(separator="\t", quote_style="non_numeric")
    (folder / "r.tsv.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "r.tsv.gz"


def write_amazon(frame: pl.DataFrame, folder: Path) -> Path:
    lines = [
        json.dumps({"reviewerID": u, "helpful": [0, 1], "asin": i, "overall": r, "unixReviewTime": t, "summary": '"x'})
        for u, i, r, t in frame.iter_rows()
    ]
    (folder / "reviews_5.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder / "reviews_5.json.gz"


def write_inter(frame: pl.DataFrame, folder: Path) -> Path:
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    named = frame.rename(dict(zip(COLUMNS, header, strict=True)))
    named.write_csv(folder / "r.inter", separator="\t", quote_style="non_numeric")
    return folder / "r.inter"


def write_parts(frame: pl.DataFrame, folder: Path) -> Path:
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    half = frame.height // 2
    frame[:half].write_parquet(parts / "part-0.parquet")
    frame[half:].write_parquet(parts / "part-1.parquet")
    (parts / "_SUCCESS").touch()
    return parts


WRITERS = [write_parquet, write_csv, write_tsv_gz, write_amazon, write_inter, write_parts]


@pytest.mark.parametrize("write", WRITERS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=records)
@example(rows=[("0", '\\"', 1.0, None), ("\\", 'a\\"b', 1.0, 3), ('"', '\\\\"\\', 2.0, None)])
def test_every_format_gives_back_what_was_written(
    tmp_path: Path, write: Callable[[pl.DataFrame, Path], Path], rows: list[tuple[str, str, float, int | None]]
) -> None:
    schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    raw = read_ratings(write(frame, tmp_path))
    assert raw.frame.select(COLUMNS).rows() == [(normal_id(u)[0], normal_id(i)[0], *rest) for u, i, *rest in rows]
    assert raw.rows_read == len(rows)
    assert raw.unparsable == raw.frame["defect"].to_list().count("id_not_exact")


def read_text(tmp_path: Path, text: str, name: str = "r.csv", columns: Columns | None = None) -> RawRatings:
    (tmp_path / name).write_text(text)
    return read_ratings(tmp_path / name, columns=columns)


def test_a_file_without_header_is_user_item_rating_time(tmp_path: Path) -> None:
    assert read_text(tmp_path, "u1,i1,4,77\nu2,i1,3.5,\n").frame.select(COLUMNS).rows() == [
        ("u1", "i1", 4.0, 77),
        ("u2", "i1", 3.5, None),
    ]
    assert read_text(tmp_path, "u1;i1;4\n").frame.select(COLUMNS).rows() == [("u1", "i1", 4.0, None)]


def test_columns_without_header_can_be_named_by_number(tmp_path: Path) -> None:
    raw = read_text(tmp_path, "5,i1,u1\n", columns=Columns(user="column_3", rating="column_1"))
    assert raw.frame.select(COLUMNS).rows() == [("u1", "i1", 5.0, None)]


def test_columns_can_be_named(tmp_path: Path) -> None:
    text = "who,what,how,rating\na,b,2,5\n"
    columns = Columns.parse("user=who, item=what,rating=how", option="--source-columns")
    assert read_text(tmp_path, text, columns=columns).frame.row(0)[:3] == ("a", "b", 2.0)


@pytest.mark.parametrize("text", ["user", "who=x", "user=", "user=a,user=b"])
def test_bad_column_options_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--source-columns"):
        Columns.parse(text, option="--source-columns")


def test_ratings_as_text_are_marked_not_fatal(tmp_path: Path) -> None:
    raw = read_text(tmp_path, "user,item,rating\na,b,good\na,c, 4 \na,d,\n")
    assert raw.frame["rating"].to_list() == [None, 4.0, None]
    assert raw.frame["defect"].to_list() == ["rating_not_a_number", None, None]
    assert raw.unparsable == 1


def test_broken_json_lines_are_marked_not_fatal(tmp_path: Path) -> None:
    good = '{"reviewerID": "A", "asin": "1", "overall": 5.0, "unixReviewTime": 12}'
    text = f'{good}\n{{broken\n\n[1, 2]\n{{"asin": "7"}}\n{good.replace("5.0", chr(34) + "bad" + chr(34))}\n'
    raw = read_text(tmp_path, text, "r.json")
    assert raw.frame["defect"].to_list() == [None, "broken_row", "broken_row", None, "rating_not_a_number"]
    assert raw.frame.select(COLUMNS).row(0) == ("A", "1", 5.0, 12)
    assert raw.frame.select(COLUMNS).row(3) == (None, "7", None, None)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=records)
def test_one_broken_line_leaves_the_others_as_they_are(
    tmp_path: Path, rows: list[tuple[str, str, float, int | None]]
) -> None:
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows]
    whole = read_text(tmp_path, "\n".join(lines), "whole.jsonl").frame
    broken = read_text(tmp_path, "\n".join([*lines, "{"]), "broken.jsonl").frame
    assert broken[:-1].rows() == whole.rows()


def test_a_lone_quotation_mark_does_not_swallow_the_rest(tmp_path: Path) -> None:
    raw = read_text(tmp_path, 'user,item,rating\na,"open,1\nb,c,2\n')
    assert raw.frame.select(COLUMNS).rows() == [("a", '"open', 1.0, None), ("b", "c", 2.0, None)]


def test_nor_does_it_in_a_file_that_quotes(tmp_path: Path) -> None:
    raw = read_text(tmp_path, '"user","item","rating"\n"a","open,"1"\n"b","c","2"\n"c","d","3"\n')
    assert raw.frame.select(COLUMNS).rows()[1:] == [("b", "c", 2.0, None), ("c", "d", 3.0, None)]


def test_a_nul_spoils_its_row_alone(tmp_path: Path) -> None:
    raw = read_text(tmp_path, "user,item,rating\na\0,i,3\nb,i,4\n")
    assert clean(raw).report.dropped == {"id_not_text": 1}


def test_dates_become_seconds(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a"], "item": [7], "rating": [3], "time": ["1970-01-02"]})
    frame.with_columns(pl.col("time").str.to_date()).write_parquet(tmp_path / "r.parquet")
    assert read_ratings(tmp_path / "r.parquet").frame.select(COLUMNS).rows() == [("a", "7", 3.0, 86_400)]


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    first = read_text(tmp_path, "a,b,3\n", "one.csv")
    assert read_text(tmp_path, "a,b,3\n", "two.csv").sha256 == first.sha256
    assert read_text(tmp_path, "a,b,4\n", "two.csv").sha256 != first.sha256
    assert (first.name, len(first.sha256)) == ("one.csv", 64)


def truncated() -> bytes:
    noise = random.Random(0)
    text = "user,item,rating\n" + "".join(f"u{noise.random()},i{noise.random()},3\n" for _ in range(20_000))
    packed = gzip.compress(text.encode())
    return packed[: len(packed) // 2]


JUNK = random.Random(1).randbytes(4_000)

BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("r.csv", b"", "is empty"),
    "empty gz": ("r.csv.gz", gzip.compress(b""), "is empty"),
    "blank": ("r.json", b"\n\n", "is empty"),
    "header alone": ("r.csv", b"user,item,rating\n", "holds no ratings"),
    "truncated gz": ("r.csv.gz", truncated(), "cut short"),
    "barely a gz": ("r.json.gz", gzip.compress(b"x" * 999)[:12], "cut short"),
    "parquet junk": ("r.parquet", JUNK, "cannot be read"),
    "csv junk": ("r.csv", JUNK, "is not text"),
    "json junk": ("r.json", JUNK, "is not text"),
    "gz junk": ("r.tsv.gz", b"\x1f\x8b" + JUNK, "cannot be read"),
    "json without objects": ("r.json", b"[1]\n2\n", "JSON object"),
    "wrong columns": ("r.csv", b"who,what,how\na,b,c\n", "'who', 'what', 'how'.*--source-columns user=NAME"),
    "one column missing": ("r.csv", b"user,item,how\na,b,c\n", "known as rating"),
    "wrong json keys": ("r.json", b'{"who": 1}\n', "'who'"),
    "unknown ending": ("r.xlsx", b"PK", "unknown file extension"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_clear_error(tmp_path: Path, name: str) -> None:
    file, content, message = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_ratings(tmp_path / file)
    assert file in str(caught.value)


def test_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_ratings(tmp_path / "no.csv")
    with pytest.raises(InputError, match="without files"):
        read_ratings(tmp_path)


def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'who' .--source-columns.; it has 'user', 'item', 'rating'"):
        read_text(tmp_path, "user,item,rating\na,b,3\n", columns=Columns(user="who"))


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_bytes_that_are_not_utf8_spoil_their_row_alone(tmp_path: Path, name: str) -> None:
    good, bad = (
        ("a,i,3", "caf\xe9,i,4")
        if name == "r.csv"
        else (f'{{"user": "{u}", "item": "i", "rating": 3}}' for u in "a\xe9")
    )
    header = "user,item,rating\n" if name == "r.csv" else ""
    (tmp_path / name).write_bytes(f"{header}{good}\n{bad}\n{good}\n".encode("latin-1"))
    cleaned = clean(read_ratings(tmp_path / name))
    assert cleaned.frame.rows() == [("a", "i", 3.0, None)]
    assert cleaned.report.dropped == {"id_not_text": 1, "duplicate": 1}


@pytest.mark.parametrize("write", WRITERS[:5])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_but_never_a_crash(
    tmp_path: Path, write: Callable[[pl.DataFrame, Path], Path], data: st.DataObject
) -> None:
    rows = [(f"u{row % 7}", f"i{row}", float(row % 5 + 1), row) for row in range(40)]
    path = write(pl.DataFrame(rows, schema=COLUMNS, orient="row"), tmp_path)
    content = bytearray(path.read_bytes())
    # Parquet is only cut: polars may abort the whole process on a page that lies about its size.
    flips = 0 if path.suffix == ".parquet" else 4
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=flips)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        clean(read_ratings(path))
    except InputError as error:
        assert path.name in str(error)


def test_titles(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('item_id,title\ni1,"A, B"\ni2,\n')
    assert read_titles(tmp_path / "t.csv").rows() == [("i1", "A, B")]
    (tmp_path / "u.csv").write_text("item_id,words\ni1,x\n")
    with pytest.raises(InputError, match="known as title"):
        read_titles(tmp_path / "u.csv")
