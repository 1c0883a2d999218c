from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from diffcdr.errors import InputError
from training.commands.synth import synth
from training.data.domains import load_domain, pair_domains
from training.data.synth import N_GENRES, TASTE_MAP, SynthData, SynthDomain, SynthSpec, generate
from training.data.synth_files import Format, write
from training.data.titles import TitleFile
from training.data.words import BOOK_GENRES, FILM_GENRES

SPEC = SynthSpec(users=600, items=240, ratings_per_user=30)


@pytest.fixture(scope="module")
def data() -> SynthData:
    return generate(SPEC)


def test_the_seed_decides(data: SynthData) -> None:
    again = generate(SPEC)
    assert again.films.ratings.equals(data.films.ratings)
    assert again.books.items.equals(data.books.items)
    other = generate(SynthSpec(users=600, items=240, ratings_per_user=30, seed=1))
    assert not other.films.ratings.equals(data.films.ratings)


def test_users_are_shared_as_asked(data: SynthData) -> None:
    films, books = (set(domain.ratings["user_id"]) for domain in (data.films, data.books))
    assert (len(films & books), len(films - books), len(books - films)) == (360, 120, 120)
    everyone = generate(SynthSpec(users=40, items=40, ratings_per_user=5, overlap=1.0))
    assert set(everyone.films.ratings["user_id"]) == set(everyone.books.ratings["user_id"])


def test_ratings_are_usable_and_as_many_as_asked(data: SynthData) -> None:
    for domain in (data.films, data.books):
        ratings = domain.ratings
        assert set(ratings["rating"].unique()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
        assert ratings.select("user_id", "item_id").is_duplicated().sum() == 0
        assert 0.8 * 30 < ratings.height / ratings["user_id"].n_unique() < 1.2 * 30
        counts = ratings["item_id"].value_counts(sort=True)["count"]
        assert (
            counts[: len(counts) // 5].sum() > 0.3 * ratings.height
        )  # a long tail: the top fifth has far over a fifth


def test_ids_and_titles_tell_their_genre(data: SynthData) -> None:
    for domain, genres in ((data.films, FILM_GENRES), (data.books, BOOK_GENRES)):
        words = {genre.name: {word.lower() for word in genre.first + genre.second} for genre in genres}
        for item_id, title, genre in domain.items.rows():
            assert title.endswith(f"({genre})")
            assert set(item_id.split("-")[2:4]) <= words[genre]
        assert domain.items["item_id"].is_unique().all()
        assert domain.items["title"].is_unique().all()


def genre_means(domain: SynthDomain, genres: list[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Each user's mean rating per genre, less the user's mean; the user's mean where a genre is not rated."""
    rated = domain.ratings.join(domain.items, on="item_id")
    table = rated.pivot("genre", index="user_id", values="rating", aggregate_function="mean")
    values = table.select(genres).to_numpy()
    centred = values - np.nanmean(values, axis=1, keepdims=True)
    return dict(zip(table["user_id"], np.nan_to_num(centred), strict=True))


def test_the_planted_map_shows_in_the_ratings(data: SynthData) -> None:
    films = genre_means(data.films, [genre.name for genre in FILM_GENRES])
    books = genre_means(data.books, [genre.name for genre in BOOK_GENRES])
    shared = sorted(films.keys() & books.keys())
    x, y = (np.array([table[user] for user in shared]) for table in (films, books))
    found = np.linalg.lstsq(x, y, rcond=None)[0]
    # The counterpart is the strongest trace of every genre, and the whole map is recognised.
    assert (found.argmax(axis=1) == TASTE_MAP.argmax(axis=1)).all()
    assert np.corrcoef(found.ravel(), TASTE_MAP.ravel())[0, 1] > 0.8
    # Strangers' book tastes do not follow: the trace is the user's own.
    strangers = np.linalg.lstsq(x, np.roll(y, 1, axis=0), rcond=None)[0]
    assert np.abs(strangers).max() < found.diagonal().min()


def test_generosity_carries_over(data: SynthData) -> None:
    means = [
        dict(domain.ratings.group_by("user_id").agg(pl.mean("rating")).rows()) for domain in (data.films, data.books)
    ]
    shared = sorted(means[0].keys() & means[1].keys())
    both = np.array([[table[user] for user in shared] for table in means])
    assert np.corrcoef(both)[0, 1] > 0.4


@pytest.mark.parametrize("file_format", list(Format))
def test_every_format_is_read_back_whole(tmp_path: Path, data: SynthData, file_format: Format) -> None:
    write(data, tmp_path, file_format=file_format)
    names = {f"{name}{file_format.ending}" for name in ("films", "books", "film_items", "book_items")}
    assert {path.name for path in tmp_path.iterdir()} == names
    source = load_domain(tmp_path / f"films{file_format.ending}", titles=None)
    titles = None if file_format is Format.amazon_json else TitleFile(tmp_path / f"book_items{file_format.ending}")
    target = load_domain(tmp_path / f"books{file_format.ending}", titles=titles)
    assert source.file.cleaning == {} == target.file.cleaning
    assert source.timestamps is not None
    expected = data.films.ratings.sort("user_id", "item_id")
    assert source.users.take(source.user_rows) == expected["user_id"].to_list()
    assert source.items.take(source.item_rows) == expected["item_id"].to_list()
    assert source.ratings.tolist() == expected["rating"].to_list()
    assert source.timestamps.tolist() == expected["timestamp"].to_list()
    assert len(pair_domains(source, target).overlap_source) == 360
    if target.titles is not None:
        assert all(target.titles)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        for file_format in Format:
            synth(tmp_path / folder, users=40, items=40, ratings_per_user=5, file_format=file_format)
    assert "films.parquet" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 12
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_was_there_stays_whole_when_writing_fails(
    tmp_path: Path, data: SynthData, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films.csv").write_text("mine")

    def full(frame: pl.DataFrame, path: Path, file_format: Format) -> None:
        path.write_text("half")
        if path.name.startswith("book"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.data.synth_files._write_frame", full)
    with pytest.raises(InputError, match=r"No space left on device; choose another --out"):
        write(data, tmp_path, file_format=Format.csv)
    assert [path.name for path in tmp_path.iterdir()] == ["films.csv"]
    assert (tmp_path / "films.csv").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, data: SynthData) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        write(data, tmp_path / "file", file_format=Format.csv)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 3}, "--users 3 is out of range"),
        ({"items": N_GENRES - 1}, "--items 7"),
        ({"ratings_per_user": 0}, "--ratings-per-user 0"),
        ({"ratings_per_user": 1001}, "needs at least 2002 items"),
        ({"overlap": 0.0}, "--overlap 0"),
        ({"overlap": float("nan")}, "--overlap nan"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SynthSpec(**change)
