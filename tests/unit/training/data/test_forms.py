"""Files as data sets and programs write them: small ones of exactly that form, read as docs/how-to/own-data.md says."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard

from diffcdr.errors import InputError
from training.data.domains import load_domain
from training.data.readers import read_ratings
from training.data.titles import read_titles
from training.run.inputs import CommonOptions, DomainOptions

ROOT = Path(__file__).parents[4]
DATA_PAGE = (ROOT / "docs" / "how-to" / "own-data.md").read_text(encoding="utf-8")

ROWS = [(101, 7001, 5, 1_500_000_000), (101, 7002, 3, 1_500_086_400), (102, 7001, 1, 1_500_172_800)]
"""User, item, rating, time: days apart, at the same time of day."""


def date(seconds: int, form: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def lines(row: str, *, header: str = "", end: str = "\n") -> str:
    """``row`` is a template of u, i, r, t; ``header`` may be empty."""
    body = [row.format(u=u, i=i, r=r, t=t, d=date(t, "%Y-%m-%d")) for u, i, r, t in ROWS]
    return end.join([*([header] if header else []), *body, ""])


def records(**keys: str) -> str:
    """JSON lines; values are templates, those of numbers numbers."""
    out = []
    for u, i, r, t in ROWS:
        filled = {key: value.format(u=u, i=i, r=r, t=t) for key, value in keys.items()}
        out.append(
            json.dumps(
                {
                    key: json.loads(v) if v.replace(".", "").isdigit() and key not in TEXT_KEYS else v
                    for key, v in filled.items()
                }
            )
        )
    return "\n".join(out) + "\n"


TEXT_KEYS = ("user_id", "reviewerID", "asin", "parent_asin", "business_id", "book_id")


@dataclass(frozen=True)
class Form:
    """``name``: of the file; ``options``: as the command line has them; ``timed``: whether times are found."""

    name: str
    content: str | bytes
    options: str = ""
    timed: bool = True


def dated(form: str, template: str, header: str = "") -> str:
    body = [template.format(u=u, i=i, r=r, d=date(t, form)) for u, i, r, t in ROWS]
    return "\n".join([*([header] if header else []), *body, ""])


DATA_SETS = {
    "MovieLens 100K": Form("u.data", lines("{u}\t{i}\t{r}\t{t}")),
    "MovieLens 1M": Form("ratings.dat", lines("{u}::{i}::{r}::{t}")),
    "MovieLens latest, 32M": Form(
        "ratings.csv",
        lines("{u},{i},{r}.0,{t}", header="userId,movieId,rating,timestamp", end="\r\n"),
        "--source-range 0.5,5",
    ),
    "BookCrossing": Form(
        "BX-Book-Ratings.csv",
        lines('"{u}";"{i}";"{r}"', header='"User-ID";"ISBN";"Book-Rating"', end="\r\n"),
        "--source-range 1,10 --encoding latin-1",
        timed=False,
    ),
    "Amazon 2014": Form(
        "reviews_Books_5.json.gz",
        gzip.compress(
            records(
                reviewerID="{u}",
                asin="{i}",
                reviewerName='J. "M"',
                overall="{r}.0",
                summary="x",
                unixReviewTime="{t}",
                reviewTime="07 14, 2017",
            ).encode()
        ),
    ),
    "Amazon 2014, ratings only": Form("ratings_Books.csv", lines("{u},{i},{r}.0,{t}")),
    "Amazon 2018": Form(
        "Books_5.json.gz",
        gzip.compress(
            records(
                overall="{r}.0",
                verified="true",
                reviewTime="09 1, 2016",
                reviewerID="{u}",
                asin="{i}",
                reviewText="fine",
                unixReviewTime="{t}",
            ).encode()
        ),
    ),
    "Amazon 2018, ratings only": Form(
        "Books.csv", lines("{i},{u},{r}.0,{t}"), "--source-columns user=column_2,item=column_1"
    ),
    "Amazon 2023": Form(
        "Books.jsonl.gz",
        gzip.compress(
            records(
                rating="{r}.0",
                title="Good",
                text="x",
                asin="B0{i}",
                parent_asin="{i}",
                user_id="{u}",
                timestamp="{t}000",
                helpful_vote="0",
            ).encode()
        ),
        "--source-columns item=parent_asin",
    ),
    "Amazon 2023, ratings only": Form(
        "Books.csv.gz",
        gzip.compress(lines("{u},{i},{r}.0,{t}000", header="user_id,parent_asin,rating,timestamp").encode()),
    ),
    "Yelp": Form(
        "yelp_academic_dataset_review.json",
        "".join(
            json.dumps(
                {
                    "review_id": "x",
                    "user_id": str(u),
                    "business_id": str(i),
                    "stars": float(r),
                    "useful": 0,
                    "text": "y\n" * 9,
                    "date": date(t, "%Y-%m-%d %H:%M:%S"),
                }
            )
            + "\n"
            for u, i, r, t in ROWS
        ),
    ),
    "Goodreads, reviews": Form(
        "goodreads_reviews_poetry.json.gz",
        gzip.compress(
            "".join(
                json.dumps(
                    {
                        "user_id": str(u),
                        "book_id": str(i),
                        "review_id": "x",
                        "rating": r,
                        "review_text": "",
                        "date_added": date(t, "%a %b %d %H:%M:%S +0000 %Y"),
                        "n_votes": 0,
                    }
                )
                + "\n"
                for u, i, r, t in ROWS
            ).encode()
        ),
    ),
    "Goodreads, interactions": Form(
        "goodreads_interactions.csv",
        lines("{u},{i},1,{r},0", header="user_id,book_id,is_read,rating,is_reviewed"),
        timed=False,
    ),
    "Steam, recommendations": Form(
        "recommendations.csv",
        dated(
            "%Y-%m-%d",
            "{i},0,0,{d},true,36.3,{u},9",
            "app_id,helpful,funny,date,is_recommended,hours,user_id,review_id",
        ),
        "--source-columns rating=is_recommended --source-range 0,1",
    ),
    "Steam, reviews": Form(
        "steam_reviews.json.gz",
        gzip.compress(
            "".join(
                f"{{u'username': u'{u}', u'hours': {r}.0, u'product_id': u'{i}', u'early_access': False, "
                f"u'date': u'{date(t, '%Y-%m-%d')}', u'text': u'It\\'s \"fine\"'}}\n"
                for u, i, r, t in ROWS
            ).encode()
        ),
        "--source-columns rating=hours --source-range 0,20000",
    ),
    "Last.fm": Form(
        "user_artists.dat",
        lines("{u}\t{i}\t{r}", header="userID\tartistID\tweight"),
        "--source-columns rating=weight --source-range 1,400000",
        timed=False,
    ),
    "Douban": Form(
        "moviereviews_cleaned.txt",
        dated(
            "%Y-%m-%d",
            '"{u}"\t"{i}"\t"{r}"\t"a|b"\t"so, so"\t"{d}"\t"1"',
            '"user_id"\t"movie_id"\t"rating"\t"labels"\t"comment"\t"time"\t"ID"',
        ),
    ),
    "Epinions": Form("ratings_data.txt", lines("{u} {i} {r} "), timed=False),
    "Epinions, with times": Form(
        "rating_with_timestamp.txt",
        "".join(f"   {u:.7e}   {i:.7e}   1.0000000e+00   {r:.7e}   5.0000000e+00   {t:.9e}\n" for u, i, r, t in ROWS),
        "--source-columns user=column_1,item=column_2,rating=column_4,timestamp=column_6",
    ),
    "Ciao": Form(
        "movie-ratings.txt",
        lines("{u},{i},5,1,{r},{d}"),
        "--source-columns user=column_1,item=column_2,rating=column_5,timestamp=column_6",
    ),
    "RecBole": Form(
        "ml.inter",
        lines("{u}\t{i}\t{r}\t{t}.0", header="user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    ),
}


def packed_zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"folder/{name}", content)
        archive.writestr(f"__MACOSX/folder/._{name}", b"x")
    return out.getvalue()


PLAIN = lines("{u},{i},{r},{t}", header="user_id,item_id,rating,timestamp")
ARRAY = json.dumps([dict(zip(("user", "item", "rating", "time"), row, strict=True)) for row in ROWS])

WRITINGS = {
    "sep=": Form("r.csv", "sep=;\n" + PLAIN.replace(",", ";")),
    "comments": Form("r.txt", "% bip weighted\n% 3 2\n" + lines("{u} {i} {r} {t}")),
    "a commented header": Form("r.txt", "# user item rating time\n" + lines("{u} {i} {r} {t}")),
    "CR": Form("r.csv", PLAIN.replace("\n", "\r")),
    "UTF-16": Form("r.txt", PLAIN.replace(",", "\t").encode("utf-16")),
    "UTF-16, given": Form("r.txt", PLAIN.encode("utf-16-le"), "--encoding utf-16-le"),
    "UTF-8 with a mark": Form("r.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
    "decimal commas": Form("r.csv", lines("{u};{i};{r},0;{t}", header="user;item;rating;time")),
    "double bars": Form("r.txt", lines("{u}||{i}||{r}||{t}", header="user||item||rating||time")),
    "control-A": Form("000000_0", lines("{u}\x01{i}\x01{r}\x01{t}")),
    "carets, given": Form("r.txt", lines("{u}@{i}@{r}@{t}"), "--source-separator @"),
    "aligned": Form("r.txt", lines("{u:>8} {i:>8} {r:>4}   {t}", header="  user     item   rating  time")),
    "blanks around": Form("r.csv", lines(" {u} , {i} , {r} , {t} ", header="user, item, rating, time")),
    "floats": Form("r.csv", lines("{u}.0,{i}.0,{r}.0,{t}.0", header="user,item,rating,time")),
    "bz2": Form("r.csv.bz2", bz2.compress(PLAIN.encode())),
    "xz": Form("r.csv.xz", lzma.compress(PLAIN.encode())),
    "zstd": Form("r.csv.zst", zstandard.compress(PLAIN.encode())),
    "zip": Form("r.zip", packed_zip("r.csv", PLAIN.encode())),
    "JSON lines in zstd": Form(
        "r.jsonl.zst", zstandard.compress(records(user_id="{u}", item="{i}", rating="{r}", time="{t}").encode())
    ),
    "a JSON array": Form("r.json", ARRAY),
    "an indented JSON array": Form("r.json", json.dumps(json.loads(ARRAY), indent=2)),
    "indented objects": Form("r.json", "\n".join(json.dumps(row, indent=2) for row in json.loads(ARRAY))),
    "an object around": Form("r.json", json.dumps({"ratings": json.loads(ARRAY)})),
    "UTF-16 JSON": Form("r.jsonl", records(user_id="{u}", item="{i}", rating="{r}", time="{t}").encode("utf-16")),
    "objects within": Form(
        "r.jsonl",
        "".join(
            json.dumps({"user": {"id": u}, "item": {"$oid": str(i)}, "rating": r, "time": t}) + "\n"
            for u, i, r, t in ROWS
        ),
        "--source-columns user=user.id,item=item.$oid",
    ),
    "times in ms": Form("r.csv", lines("{u},{i},{r},{t}000", header="user,item,rating,time")),
    "ISO": Form("r.csv", dated("%Y-%m-%dT%H:%M:%SZ", "{u},{i},{r},{d}", "user,item,rating,date")),
    "ISO with a zone": Form("r.csv", dated("%Y-%m-%d %H:%M:%S+00:00", "{u},{i},{r},{d}", "user,item,rating,date")),
    "American": Form("r.csv", dated("%m/%d/%Y", "{u},{i},{r},{d}", "user,item,rating,date")),
    "German": Form("r.csv", dated("%d.%m.%Y", "{u};{i};{r};{d}", "user;item;rating;date")),
}


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
