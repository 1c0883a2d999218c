"""Small files of exactly the form that data sets and programs write."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime

import zstandard

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
