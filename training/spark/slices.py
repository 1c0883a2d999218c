"""The work of executors on slices of prepared arrays: whole users, memory-mapped, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from diffcdr.errors import InputError
from training.spark.arrow import numbers

SLICE_ROWS = 1_000_000
"""Ratings in a slice, about: a user's ratings stay together."""
TRIPLES = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("value", pa.float32())])
FACTORS = pa.schema([("id", pa.int32()), ("features", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class RatingSlice:
    """Rows ``first`` to ``stop`` (not included) of the arrays, all of users ``first_user`` to ``stop_user``."""

    first: int
    stop: int
    first_user: int
    stop_user: int


@dataclass(frozen=True)
class SliceRatings:
    """Parallel columns: ``users``, ``items`` int64, ``values`` float32, in the order of the arrays."""

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Levels:
    """What is taken off ratings before they are factorised: ``offset`` and biases, float64 [n_users] and [n_items]."""

    offset: float
    users: npt.NDArray[np.float64]
    items: npt.NDArray[np.float64]

    def residuals(self, ratings: SliceRatings) -> npt.NDArray[np.float32]:
        """What is left of ``ratings``, float32."""
        left = ratings.values - self.offset - self.users[ratings.users] - self.items[ratings.items]
        return left.astype(np.float32)


def rating_slices(folder: Path, *, n_users: int, at_least: int) -> list[RatingSlice]:
    """Divide the domain in ``folder`` into slices: ``at_least`` so many, where there are users enough."""
    users = np.load(folder / "user_rows.npy", mmap_mode="r")
    size = max(1, min(SLICE_ROWS, -(-len(users) // at_least)))
    edges = [0, *sorted({int(users[row]) + 1 for row in range(size, len(users), size)} - {n_users}), n_users]
    rows = np.searchsorted(users, edges)
    return [
        RatingSlice(int(first), int(stop), low, high)
        for first, stop, low, high in zip(rows, rows[1:], edges, edges[1:], strict=False)
    ]


def read_slice(folder: Path, part: RatingSlice, *, held: npt.NDArray[np.int64]) -> SliceRatings:
    """The ratings of ``part`` less those of users ``held`` (ascending rows)."""
    users, items, values = (
        np.load(folder / f"{name}.npy", mmap_mode="r")[part.first : part.stop]
        for name in ("user_rows", "item_rows", "ratings")
    )
    keep = np.ones(len(users), dtype=bool)
    if len(held):
        keep = held[np.minimum(np.searchsorted(held, users), len(held) - 1)] != users
    return SliceRatings(users[keep], items[keep], values[keep])


def each_user(ratings: SliceRatings, part: RatingSlice) -> Iterator[npt.NDArray[np.int64]]:
    """The items of each user of ``part``, in order; none for who has none."""
    edges = np.searchsorted(ratings.users, np.arange(part.first_user, part.stop_user + 1))
    for first, stop in zip(edges, edges[1:], strict=False):
        yield ratings.items[first:stop]


def rating_batches(
    batches: Iterable[pa.RecordBatch],
    *,
    folder: Path,
    parts: Sequence[RatingSlice],
    held: npt.NDArray[np.int64],
    levels: Levels | None,
) -> Iterator[pa.RecordBatch]:
    """The ratings of the slices whose numbers ``batches`` hold, less what ``levels`` explains; 1 each for None."""
    for number in numbers(batches):
        ratings = read_slice(folder, parts[number], held=held)
        values = np.ones(len(ratings.values), dtype=np.float32) if levels is None else levels.residuals(ratings)
        yield _batch(TRIPLES, ratings.users.astype(np.int32), ratings.items.astype(np.int32), values)


def half_step_batches(
    batches: Iterable[pa.RecordBatch],
    *,
    folder: Path,
    parts: Sequence[RatingSlice],
    held: npt.NDArray[np.int64],
    items: Path,
    confidence: float,
    regularisation: float,
) -> Iterator[pa.RecordBatch]:
    """Every user of the slices with its vector: the least-squares problem of implicit feedback, solved in float64.

    ``items``: a ``.npy`` of item vectors. A user without items has zeros.
    """
    vectors = np.load(items).astype(np.float64)
    gram = vectors.T @ vectors + regularisation * np.eye(vectors.shape[1])
    for number in numbers(batches):
        part = parts[number]
        solved = np.zeros((part.stop_user - part.first_user, vectors.shape[1]), dtype=np.float32)
        for place, rated in enumerate(each_user(read_slice(folder, part, held=held), part)):
            if len(rated):
                own = vectors[rated]
                left = gram + (confidence - 1.0) * (own.T @ own)
                solved[place] = np.linalg.solve(left, confidence * own.sum(axis=0))
        rows = np.arange(part.first_user, part.stop_user, dtype=np.int32)
        yield _batch(FACTORS, rows, solved.tolist())


def check_readable(number: int, *, folder: Path) -> None:
    """See that this executor can read the domain in ``folder``; ``number`` is that of a task, whatever it is.

    Raises:
        InputError: it cannot.
    """
    if not os.access(folder / "ratings.npy", os.R_OK):
        raise InputError(f"executors cannot read {folder}; put the tables where all machines see them under this path")


def _batch(schema: pa.Schema, *columns: object) -> pa.RecordBatch:
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
