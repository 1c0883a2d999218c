"""Files as data sets and programs write them: small ones of exactly that form, read as docs/how-to/own-data.md says."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from diffcdr.errors import InputError
from tests.unit.training.data.file_forms import DATA_SETS, ROWS, WRITINGS
from training.data.domains import load_domain
from training.data.readers import read_ratings
from training.data.titles import read_titles
from training.run.inputs import CommonOptions, DomainOptions

ROOT = Path(__file__).parents[4]
DATA_PAGE = (ROOT / "docs" / "how-to" / "own-data.md").read_text(encoding="utf-8")


def options(text: str) -> DomainOptions:
    given = dict(zip(text.split()[::2], text.split()[1::2], strict=True))
    return DomainOptions(
        "source",
        Path("r"),
        given.get("--source-columns"),
        separator=given.get("--source-separator"),
        rating_range=given.get("--source-range"),
    )


def common(text: str) -> CommonOptions:
    return CommonOptions(encoding="utf-16-le" if "utf-16" in text else "latin-1" if "latin-1" in text else None)


@pytest.mark.parametrize("name", [*DATA_SETS, *WRITINGS])
def test_a_file_of_this_form_is_read_whole(tmp_path: Path, name: str) -> None:
    form = (DATA_SETS | WRITINGS)[name]
    path = tmp_path / form.name
    path.write_bytes(form.content if isinstance(form.content, bytes) else form.content.encode())
    file = options(form.options).file(common(form.options))
    frame = read_ratings(path, reading=file.reading).frame
    assert frame.select("user_id", "item_id").rows() == [(str(u), str(i)) for u, i, *_ in ROWS]
    expected = [1.0, 1.0, 1.0] if "is_recommended" in form.options else [float(r) for *_, r, _ in ROWS]
    assert frame["rating"].to_list() == expected
    assert frame["defect"].null_count() == 3
    if form.timed:
        days = [time // 86_400 % 1_000 for time in (t for *_, t in ROWS)]
        scale = 1_000 if frame["timestamp"][0] > 10**11 else 1
        assert [time // scale // 86_400 % 1_000 for time in frame["timestamp"].to_list()] == days
    else:
        assert frame["timestamp"].null_count() == 3
    domain = load_domain(path, reading=file.reading, rating_range=file.rating_range, rules=file.rules)
    assert domain.file.rows_kept == 3
    assert domain.file.how["columns"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_page_names_the_data_set_and_the_options_that_read_it(name: str) -> None:
    row = next((line for line in DATA_PAGE.splitlines() if line.startswith(f"| {name} |")), None)
    assert row is not None
    form = DATA_SETS[name]
    assert form.name in row
    assert all(option in row for option in form.options.split())


TITLES: dict[str, tuple[str, bytes, str | None]] = {
    "MovieLens 100K": ("u.item", "7001|Caf\xe9 (1995)|01-Jan-1995||http://x|0|0\n".encode("latin-1"), "latin-1"),
    "MovieLens 1M": ("movies.dat", "7001::Caf\xe9 (1995)::Comedy|Drama\n".encode("latin-1"), "latin-1"),
    "BookCrossing": (
        "BX-Books.csv",
        '"ISBN";"Book-Title";"Book-Author"\n"7001";"Caf\xe9 (1995)";"A. \\"B\\" C"\n'.encode("latin-1"),
        "latin-1",
    ),
    "Amazon 2014": ("meta_Books.json", "{'asin': '7001', 'title': 'Caf\xe9 (1995)', 'price': 3.5}\n".encode(), None),
    "Amazon 2018": ("meta_Books.json.gz", gzip.compress('{"asin": "7001", "title": "Café (1995)"}\n'.encode()), None),
    "Yelp": ("business.json", '{"business_id": "7001", "name": "Café (1995)"}\n'.encode(), None),
    "quoted": ("t.csv", 'item_id,title\n7001,"Café (1995)"\n'.encode(), None),
}


@pytest.mark.parametrize("name", TITLES)
def test_titles_of_this_form_are_read_undamaged(tmp_path: Path, name: str) -> None:
    file, content, encoding = TITLES[name]
    (tmp_path / file).write_bytes(content)
    titles = DomainOptions("target", Path("r"), titles=tmp_path / file).file(CommonOptions(encoding=encoding)).titles
    assert titles is not None
    assert read_titles(titles.path, reading=titles.reading).rows() == [("7001", "Café (1995)")]
    if encoding:
        with pytest.raises(InputError, match=rf"{file} is not UTF-8.*'.*Café.*--encoding latin-1"):
            read_titles(titles.path)


def test_folders_as_writers_leave_them(tmp_path: Path) -> None:
    def write(name: str, content: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    part: Callable[[int], str] = lambda row: "user,item,time\n{0},{1},{3}\n".format(*ROWS[row])  # noqa: E731
    for row, (*_, rating, _) in enumerate(ROWS):
        write(f"r[1]/rating={rating}/part-{row}.csv", part(row))
    for name in ("_temporary/0/part-9.csv", ".ipynb_checkpoints/part-0.csv", "rating=5/.part-0.csv.crc", "_SUCCESS"):
        write(f"r[1]/{name}", part(0))
    write("r[1]/rating=5/part-8.csv", "")
    frame = read_ratings(tmp_path / "r[1]").frame
    assert sorted(frame.select("user_id", "item_id", "rating").rows()) == sorted(
        (str(u), str(i), r) for u, i, r, _ in ROWS
    )


def test_columns_of_every_kind(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user": pl.Series([7.0, None, float("nan"), 8.0]),
            "item": pl.Series(["a", "b", "c", "a"]).cast(pl.Categorical),
            "rating": pl.Series(["5.0", "4.0", "3.0", "2.0"]).str.to_decimal(scale=1),
            "tags": [["x"], [], None, ["y", "z"]],
        }
    )
    frame.write_parquet(tmp_path / "r[1].parquet")
    raw = read_ratings(tmp_path / "r[1].parquet").frame
    assert raw.select("user_id", "item_id", "rating").rows() == [
        ("7", "a", 5.0),
        (None, "b", 4.0),
        (None, "c", 3.0),
        ("8", "a", 2.0),
    ]
    with pytest.raises(InputError, match="holds records or lists.*--source-columns user="):
        read_ratings(
            tmp_path / "r[1].parquet", reading=options("--source-columns user=tags").file(CommonOptions()).reading
        )
