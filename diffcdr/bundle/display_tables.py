"""Optional tables of a bundle for display only: source histories and the map of users and items.

    source_history/  indptr items ratings                       who rated what in the source domain
    map/             users source transferred target items item_points   a sample of users, and items, in two dimensions
    map/others/      MODEL.npy                                  the sample as other models of the training carry it over

A bundle without them serves just the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Int32Array
from diffcdr.bundle.writer import BundleWriter

HISTORY_FOLDER = "source_history"
MAP_FOLDER = "map"
MAP_TABLES = ("users", "source", "transferred", "target", "items", "item_points")
OTHERS_FOLDER = f"{MAP_FOLDER}/others"


@dataclass(frozen=True)
class SourceHistory:
    """Source ratings as CSR over the rows of ``source_users``: user i has entries ``indptr[i]`` to ``indptr[i + 1]``.

    ``indptr``: int64 [n + 1]; ``items``: int32 [R], rows of ``source_items``, ascending; ``ratings``: float32 [R].
    """

    indptr: npt.NDArray[np.int64]
    items: Int32Array
    ratings: Float32Array

    def of(self, row: int) -> tuple[Int32Array, Float32Array]:
        """Items and ratings of the user at ``row``, best rated first, ties in item order."""
        entries = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        items, ratings = self.items[entries], self.ratings[entries]
        order = np.argsort(-ratings, kind="stable")
        return items[order], ratings[order]

    def write(self, writer: BundleWriter) -> None:
        """Add the tables to a bundle."""
        for name in ("indptr", "items", "ratings"):
            writer.array(f"{HISTORY_FOLDER}/{name}.npy", getattr(self, name))


@dataclass(frozen=True)
class UserMap:
    """A seeded sample of users known in both domains, and the most rated items, in the plane.

    ``users`` int32 [n], rows of ``source_users``, ascending; ``items`` int32 [m], rows of ``target_items``, most rated
    first. Positions, float32 in [-1, 1]: ``source`` [n, 2], on a plane of its own; ``transferred`` [n, 2] (source
    vectors carried over), ``target`` [n, 2] (the vectors that the users' own target ratings give) and ``item_points``
    [m, 2], together on one. On that one too, ``others``: model -> positions [n, 2] that it carries the sample to.
    """

    users: Int32Array
    source: Float32Array
    transferred: Float32Array
    target: Float32Array
    items: Int32Array
    item_points: Float32Array
    others: Mapping[str, Float32Array] = field(default_factory=dict)

    def write(self, writer: BundleWriter) -> None:
        """Add the tables to a bundle."""
        for name in MAP_TABLES:
            writer.array(f"{MAP_FOLDER}/{name}.npy", getattr(self, name))
        for model, points in self.others.items():
            writer.array(f"{OTHERS_FOLDER}/{model}.npy", points)


@dataclass(frozen=True)
class ConsoleTables:
    """What a bundle carries of these tables."""

    history: SourceHistory | None = None
    map: UserMap | None = None

    @classmethod
    def open(cls, files: Mapping[str, Any], array: Callable[[str], Any], *, source_users: int) -> Self:
        """The tables named in ``files``; ``array`` maps one by its name.

        Raises:
            ValueError: the histories are not those of ``source_users`` users, or a model's points not the map's users'.
        """
        history = user_map = None
        if f"{HISTORY_FOLDER}/indptr.npy" in files:
            history = SourceHistory(*(array(f"{HISTORY_FOLDER}/{name}.npy") for name in ("indptr", "items", "ratings")))
            if len(history.indptr) != source_users + 1:
                raise ValueError(f"{HISTORY_FOLDER} has {len(history.indptr) - 1} users, not {source_users}")
        if f"{MAP_FOLDER}/users.npy" in files:
            others = {PurePosixPath(name).stem: array(name) for name in files if name.startswith(f"{OTHERS_FOLDER}/")}
            tables = {name: array(f"{MAP_FOLDER}/{name}.npy") for name in MAP_TABLES}
            user_map = UserMap(others=others, **tables)
            for name, points in others.items():
                if points.shape != user_map.transferred.shape:
                    raise ValueError(f"{OTHERS_FOLDER}/{name}.npy is {points.shape}, not {user_map.transferred.shape}")
        return cls(history, user_map)
