"""Synthetic films and books of any size; a planted map transfers tastes from one to the other.

A user's taste for the film genres is Gaussian; the taste for the book genres is that times ``TASTE_MAP`` (each genre
mostly becomes its counterpart, a little its neighbour) plus noise. Taste steers both what a user picks and how it is
rated; how generous a user rates carries over too. Items differ in quality, and their popularity has a long tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import Float64Array, Int64Array
from diffcdr.errors import InputError
from training.data.words import BOOK_GENRES, FILM_GENRES, FIRST_NAMES, Genre

N_GENRES = len(FILM_GENRES)
TASTE_MAP: npt.NDArray[np.float64] = 0.9 * np.eye(N_GENRES) + 0.3 * np.roll(np.eye(N_GENRES), 1, axis=1)
"""Row i: what liking film genre i means for the book genres. A linear map, so a linear transfer can find it."""

FILMS_ONLY_SHARE = 0.2

_MAX = 50_000_000
_CHUNK_USERS = 50_000
_START, _YEARS = 1_577_836_800, 4 * 365 * 86_400


@dataclass(frozen=True)
class SynthSpec:
    """What to make. ``items`` counts each domain's; ``overlap`` is the share of users seen in both domains.

    Of the other users, up to ``FILMS_ONLY_SHARE`` of all know films alone (the cold-start users); the rest books.

    Raises:
        InputError: a number is out of its range.
    """

    users: int = 5_000
    items: int = 2_000
    ratings_per_user: int = 40
    overlap: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("users", 20), ("items", N_GENRES), ("ratings_per_user", 1)):
            if not low <= getattr(self, name) <= _MAX:
                option = name.replace("_", "-")
                raise InputError(f"--{option} {getattr(self, name)} is out of range; give {low} to {_MAX:,}")
        if not 0 < self.overlap <= 1:
            raise InputError(f"--overlap {self.overlap:g} is out of range; give a share above 0 and up to 1")
        if self.ratings_per_user > self.items // 2:
            raise InputError(
                f"--ratings-per-user {self.ratings_per_user} needs at least {2 * self.ratings_per_user} items, and "
                f"--items is {self.items}; give fewer ratings or more items"
            )
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is negative; give 0 or more")


@dataclass(frozen=True)
class SynthDomain:
    """``ratings``: user_id, item_id, rating f64 (1 to 5), timestamp i64 (seconds); ``items``: item_id, title, genre."""

    ratings: pl.DataFrame
    items: pl.DataFrame


@dataclass(frozen=True)
class SynthData:
    """Both domains, and the planted truth: tastes [users, N_GENRES] of every user, in the order of ``user_ids``."""

    films: SynthDomain
    books: SynthDomain
    user_ids: Sequence[str]
    film_taste: Float64Array
    book_taste: Float64Array


def generate(spec: SynthSpec) -> SynthData:
    """Make both domains; the same ``spec`` makes the same data."""
    rng = np.random.default_rng(spec.seed)
    film_taste = rng.normal(size=(spec.users, N_GENRES))
    book_taste = film_taste @ TASTE_MAP + rng.normal(scale=0.35, size=film_taste.shape)
    generosity = rng.normal(scale=0.45, size=spec.users)
    in_films, in_books = _memberships(spec, rng)
    width = max(5, len(str(spec.users)))
    names = rng.integers(len(FIRST_NAMES), size=spec.users)
    user_ids = [f"{FIRST_NAMES[name]}-{number:0{width}d}" for number, name in enumerate(names.tolist(), start=1)]
    ids = pl.Series("user_id", user_ids)

    def domain(kind: str, genres: Sequence[Genre], members: Int64Array, taste: Float64Array) -> SynthDomain:
        items, genre_of = _items(kind, genres, spec.items, rng)
        own = generosity + rng.normal(scale=0.15, size=spec.users)
        frames = list(_ratings(spec, rng, members=members, taste=taste, generosity=own, genre_of=genre_of))
        users, rows, stars, times = (np.concatenate(parts) for parts in zip(*frames, strict=True))
        ratings = pl.DataFrame(
            {
                "user_id": ids.gather(users),
                "item_id": items["item_id"].gather(rows),
                "rating": stars,
                "timestamp": times,
            }
        )
        return SynthDomain(ratings, items)

    films = domain("film", FILM_GENRES, in_films, film_taste)
    books = domain("book", BOOK_GENRES, in_books, book_taste)
    return SynthData(films, books, user_ids, film_taste, book_taste)


def _memberships(spec: SynthSpec, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
    """Rows of the users in films, and in books."""
    order = rng.permutation(spec.users)
    both = max(1, round(spec.users * spec.overlap))
    films_only = min(round(spec.users * FILMS_ONLY_SHARE), spec.users - both)
    return np.sort(order[: both + films_only]), np.sort(np.r_[order[:both], order[both + films_only :]])


def _items(kind: str, genres: Sequence[Genre], n: int, rng: np.random.Generator) -> tuple[pl.DataFrame, Int64Array]:
    """Item ids and titles, and the genre of each; equally many of every genre, in shuffled order."""
    genre_of = rng.permutation(np.arange(n) % len(genres))
    width = max(4, len(str(n)))
    made = [0] * len(genres)
    rows = []
    for number, index in enumerate(genre_of.tolist(), start=1):
        genre = genres[index]
        count, made[index] = made[index], made[index] + 1
        sequel, pair = divmod(count, len(genre.first) * len(genre.second))
        # 5 is prime to the number of first words, so neighbours differ in both words.
        second, first = divmod(pair, len(genre.first))
        words = f"{genre.first[first]} {genre.second[(second + 5 * first) % len(genre.second)]}"
        name = f"{words} {sequel + 1}" if sequel else words
        item_id = f"{kind}-{number:0{width}d}-{name.lower().replace(' ', '-')}"
        rows.append((item_id, f"The {name} ({genre.name})", genre.name))
    return pl.DataFrame(rows, schema=["item_id", "title", "genre"], orient="row"), genre_of


def _ratings(
    spec: SynthSpec,
    rng: np.random.Generator,
    *,
    members: Int64Array,
    taste: Float64Array,
    generosity: Float64Array,
    genre_of: Int64Array,
) -> Iterator[tuple[Int64Array, Int64Array, Float64Array, Int64Array]]:
    """(user rows, item rows, ratings, timestamps), some users at a time, ordered by user and item."""
    n_items = len(genre_of)
    quality = rng.normal(scale=0.35, size=n_items)
    popularity = 1.0 / (10.0 + rng.permutation(n_items)) ** 0.8
    by_genre = np.argsort(genre_of, kind="stable")
    # One increasing ladder over all items, genre after genre: genre g owns the stretch from edge[g] to edge[g + 1].
    ladder = np.cumsum(popularity[by_genre])
    edge = np.r_[0.0, ladder[np.searchsorted(genre_of[by_genre], np.arange(N_GENRES), side="right") - 1]]
    for start in range(0, len(members), _CHUNK_USERS):
        part = members[start : start + _CHUNK_USERS]
        # Drawing a pair twice counts once, so a tenth more is drawn; activity varies from user to user.
        activity = 1.1 * spec.ratings_per_user * rng.lognormal(-0.08, 0.4, size=len(part))
        counts = np.clip(np.rint(activity), 1, n_items // 2).astype(np.int64)
        local = np.repeat(np.arange(len(part)), counts)
        weights = np.exp(taste[part])
        chances = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        chances[:, -1] = 1.0
        genre = _choose(chances, local, rng.random(len(local)))
        at = edge[genre] + rng.random(len(local)) * (edge[genre + 1] - edge[genre])
        item = by_genre[np.minimum(np.searchsorted(ladder, at, side="right"), n_items - 1)]
        pairs = np.unique(part[local] * n_items + item)
        user, item = pairs // n_items, pairs % n_items
        liking = 0.75 * taste[user, genre_of[item]]
        score = 3.4 + liking + generosity[user] + quality[item] + rng.normal(scale=0.6, size=len(pairs))
        yield user, item, np.clip(np.rint(score), 1.0, 5.0), _START + rng.integers(_YEARS, size=len(pairs))


def _choose(chances: Float64Array, rows: Int64Array, draws: Float64Array) -> Int64Array:
    """The first column of ``chances[row]`` (cumulative) above the draw, for every draw."""
    chosen = np.zeros(len(rows), dtype=np.int64)
    for column in range(chances.shape[1] - 1):
        chosen += draws >= chances[rows, column]
    return chosen
