"""A user's position on a bundle's map, and the user's items there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array
from diffcdr.bundle.display_tables import UserMap
from diffcdr.recommend.recommender import Recommender

NEIGHBOURS = 5
"""A user who is not on the map is placed between this many who are."""
NEAR_ITEMS = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class UserPlace:
    """Positions of one user, None if the bundle has no such vector; ``items``: target item rows, nearest first.

    ``on_map``: the user is one of the map's sample; otherwise positions are those of the most similar users there,
    averaged by similarity.
    """

    on_map: bool
    source: Point | None
    transferred: Point | None
    target: Point | None
    items: list[int]


def locate(recommender: Recommender, user_map: UserMap, user_id: str) -> UserPlace | None:
    """The place of ``user_id``; None if the bundle does not know the user.

    The nearest items are those whose vectors have the largest cosine with the user's transferred vector, or else with
    the target vector.
    """
    bundle = recommender.bundle
    source_row, warm_row = bundle.source_users.ids.row(user_id), bundle.target_users.ids.row(user_id)
    if source_row < 0 and warm_row < 0:
        return None
    place = int(np.searchsorted(user_map.users, source_row))
    on_map = source_row >= 0 and place < len(user_map.users) and user_map.users[place] == source_row
    sample = np.asarray(bundle.source_users.vectors[user_map.users])
    source = transferred = target = None
    direction: Float32Array | None = None
    if source_row >= 0:
        vector = np.asarray(bundle.source_users.vectors[source_row : source_row + 1])
        source = _between(vector[0], sample, user_map.source)
        carried = recommender.embed_vectors(np.concatenate([vector, sample]))
        direction = carried[0]
        transferred = _between(direction, carried[1:], user_map.transferred)
    if warm_row >= 0:
        rows = bundle.target_users.ids.rows_of(bundle.source_users.ids.array[user_map.users])
        own = np.asarray(bundle.target_users.vectors[warm_row])
        target = _between(own, np.asarray(bundle.target_users.vectors[rows]), user_map.target)
        direction = own if direction is None else direction
    if on_map:
        source, transferred, target = (
            _point(points[place]) for points in (user_map.source, user_map.transferred, user_map.target)
        )
    assert direction is not None
    likeness = _cosines(direction, np.asarray(bundle.target_items.vectors[user_map.items]))
    nearest = user_map.items[np.argsort(-likeness, kind="stable")[:NEAR_ITEMS]]
    return UserPlace(on_map, source, transferred, target, nearest.tolist())


def _between(vector: Float32Array, sample: Float32Array, points: Float32Array) -> Point | None:
    """The position between the ``NEIGHBOURS`` of ``sample`` most similar to ``vector``; None if the sample is empty."""
    if not len(points):
        return None
    likeness = _cosines(vector, sample)
    nearest = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
    weights = np.maximum(likeness[nearest], 1e-6)
    return _point((weights / weights.sum()) @ points[nearest].astype(np.float64))


def _cosines(vector: Float32Array, others: Float32Array) -> npt.NDArray[np.float64]:
    first, second = vector.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(first) * np.linalg.norm(second, axis=1)
    return np.asarray(second @ first / np.where(lengths == 0.0, 1.0, lengths), dtype=np.float64)


def _point(position: npt.NDArray[np.floating]) -> Point:
    return float(position[0]), float(position[1])
