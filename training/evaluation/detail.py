"""Where a model is good: lists of other lengths, users by source history, items by popularity, calibration of scores.

One search for the longest lists gives them all: the first k of a list are the list of length k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.ranking import IntArray, UserLists, hits_of, ranking_metrics
from training.rating_table import RatingTable

CUTOFFS = (10, 20, 50, 100)
LONGEST = CUTOFFS[-1]
AT = 20
"""Length of the lists of groups of users and items."""
TENTHS, FIFTHS = 10, 5


@dataclass(frozen=True)
class AtCutoff:
    """Figures of the first ``k`` places, over users with held-out ratings.

    ``mrr``: mean of 1 / rank of the user's first relevant item within k, 0 without one. ``coverage``: share of the
    catalogue in anybody's list. Others: :mod:`training.evaluation.ranking`.
    """

    k: int
    ndcg: float
    hr: float
    recall: float
    mrr: float
    coverage: float


@dataclass(frozen=True)
class UserGroup:
    """A tenth (``place``, from 1) of the users by length of source history, ``shortest`` to ``longest`` ratings.

    Users whose histories are equally long are in the same tenth, so tenths are not quite equal, and one that would be
    empty is left out. ``ndcg``, ``hr`` and ``recall`` are at 20.
    """

    place: int
    shortest: int
    longest: int
    users: int
    ndcg: float
    hr: float
    recall: float


@dataclass(frozen=True)
class ItemGroup:
    """The ``items`` of one fifth of the target's training ratings (``place`` 1: the most popular; 0: without ratings).

    ``held_out`` ratings are of these items; ``found`` is the share of them in their user's list of 20, None without
    any. ``listed``: share of all places of these lists.
    """

    place: int
    items: int
    held_out: int
    found: float | None
    listed: float


@dataclass(frozen=True)
class CalibrationBin:
    """A tenth (``place``, from 1) of the held-out ratings by ascending prediction, clipped to the scale.

    Equal predictions are in the same. ``predicted``, ``actual``: means.
    """

    place: int
    ratings: int
    predicted: float
    actual: float


@dataclass(frozen=True)
class Detail:
    """``calibration``: empty for a model whose scores are not ratings."""

    cutoffs: tuple[AtCutoff, ...]
    users: tuple[UserGroup, ...]
    items: tuple[ItemGroup, ...]
    calibration: tuple[CalibrationBin, ...] = ()


def detail(
    lists: IntArray,
    relevant: UserLists,
    *,
    lengths: IntArray,
    known: RatingTable,
    calibration: tuple[CalibrationBin, ...] = (),
) -> Detail:
    """Measure ranked ``lists`` [U, LONGEST] (item rows, -1 after the last) against ``relevant``, not all empty.

    Args:
        lengths: ratings in the source history of each user, [U].
        known: the target ratings that models were trained on.
    """
    judged = relevant.counts() > 0
    cutoffs = tuple(_at(lists, relevant, judged, k, n_items=known.n_items) for k in CUTOFFS)
    short = lists[:, :AT]
    return Detail(
        cutoffs, _by_history(short, relevant, lengths[judged]), _by_popularity(short, relevant, known), calibration
    )


def calibration_bins(
    predicted: npt.NDArray[np.floating], actual: npt.NDArray[np.floating]
) -> tuple[CalibrationBin, ...]:
    """Of held-out ratings, [R] each; bins that would be empty are left out."""
    places = tenths(predicted)
    counts = np.bincount(places, minlength=TENTHS)
    sums = (np.bincount(places, weights=each.astype(np.float64), minlength=TENTHS) for each in (predicted, actual))
    rows = enumerate(zip(counts, *sums, strict=True), start=1)
    return tuple(CalibrationBin(place, int(n), float(p / n), float(a / n)) for place, (n, p, a) in rows if n)


def tenths(values: npt.NDArray[np.number]) -> npt.NDArray[np.int64]:
    """The tenth, 0 to 9, of each of ``values`` [N] in ascending order; equal values are in the same."""
    below = np.searchsorted(np.sort(values), values)
    return np.asarray(below * TENTHS // max(len(values), 1), dtype=np.int64)


def popularity_fifths(known: RatingTable) -> npt.NDArray[np.int64]:
    """1 to 5 for the items of each fifth of the ratings, the most popular first, ties by row; 0 without ratings. [n]"""
    counts = np.bincount(known.items, minlength=known.n_items)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    places = np.empty(known.n_items, dtype=np.int64)
    places[order] = before * FIFTHS // max(int(counts.sum()), 1) + 1
    places[counts == 0] = 0
    return places


def _at(lists: IntArray, relevant: UserLists, judged: npt.NDArray[np.bool_], k: int, *, n_items: int) -> AtCutoff:
    part = lists[:, :k]
    figures, shown = ranking_metrics(part, relevant), part[judged]
    hits = hits_of(part, relevant)[judged]
    first = hits.argmax(axis=1) + 1.0
    return AtCutoff(
        k,
        float(figures.ndcg.mean()),
        float(figures.hr.mean()),
        float(figures.recall.mean()),
        float(np.where(hits.any(axis=1), 1.0 / first, 0.0).mean()),
        float(len(np.unique(shown[shown >= 0])) / n_items),
    )


def _by_history(lists: IntArray, relevant: UserLists, lengths: IntArray) -> tuple[UserGroup, ...]:
    figures, places = ranking_metrics(lists, relevant), tenths(lengths)
    groups = []
    for place in np.unique(places).tolist():
        own = places == place
        means = (float(each[own].mean()) for each in (figures.ndcg, figures.hr, figures.recall))
        groups.append(UserGroup(place + 1, int(lengths[own].min()), int(lengths[own].max()), int(own.sum()), *means))
    return tuple(groups)


def _by_popularity(lists: IntArray, relevant: UserLists, known: RatingTable) -> tuple[ItemGroup, ...]:
    places = popularity_fifths(known)
    items = np.bincount(places, minlength=FIFTHS + 1)
    held_out = np.bincount(places[relevant.items], minlength=FIFTHS + 1)
    shown = lists[relevant.counts() > 0]
    listed = np.bincount(places[shown[shown >= 0]], minlength=FIFTHS + 1)
    found = np.bincount(places[lists[hits_of(lists, relevant)]], minlength=FIFTHS + 1)
    return tuple(
        ItemGroup(
            place,
            int(items[place]),
            int(held_out[place]),
            float(found[place] / held_out[place]) if held_out[place] else None,
            float(listed[place] / max(int(listed.sum()), 1)),
        )
        for place in (*range(1, FIFTHS + 1), 0)
        if items[place]
    )
