"""Two bundles on the same held-out users, each asked as the service asks it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from diffcdr.arrays import Int64Array
from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from training.evaluation.ranking import UserLists, ranking_metrics
from training.run.prepare import Prepared

K = 20
MIN_USERS = 10
"""Fewer users whom neither bundle learnt from tell nothing."""


class Comparison(BaseModel):
    """NDCG@20 of both bundles on ``users`` users, and the mean paired difference, new less active."""

    model_config = ConfigDict(frozen=True)

    users: int
    active_ndcg: float
    new_ndcg: float
    difference: float
    standard_error: float

    @property
    def worse(self) -> bool:
        """Whether the new bundle is worse by more than one standard error of the paired difference."""
        return self.difference < -self.standard_error


def compare(active: Path, new: Path, prepared: Prepared) -> Comparison:
    """Compare the bundles at ``active`` and ``new`` on the test users of ``prepared`` whom neither has learnt from.

    A user counts who has no target ratings in either bundle. Lists are made from the source ratings of today: from the
    vector that a bundle stores of the user, else from the ratings. Items are told apart by id, so an item that came
    after the active bundle is a miss for it.

    Raises:
        InputError: there are fewer than ``MIN_USERS`` such users.
        BundleError: a bundle cannot be read.
    """
    asked = [Recommender(open_bundle(path)) for path in (active, new)]
    everyone = prepared.pair.target.users.take(prepared.pair.overlap_target[prepared.split.test])
    counts = np.bincount(prepared.test.ratings.users, minlength=len(everyone))
    chosen = [
        place
        for place, user in enumerate(everyone)
        if counts[place] and all(each.bundle.target_users.ids.row(user) < 0 for each in asked)
    ]
    if len(chosen) < MIN_USERS:
        raise InputError(
            f"only {len(chosen)} held-out users are new to both bundles, and at least {MIN_USERS} are needed to "
            "compare them; train with the seed and the test fraction of the active bundle, or give --no-guard"
        )
    users = [everyone[place] for place in chosen]
    histories = _histories(prepared, chosen)
    relevant = _relevant(prepared, chosen)
    found = [ranking_metrics(_lists(each, users, histories, prepared), relevant).ndcg for each in asked]
    differences = found[1] - found[0]
    return Comparison(
        users=len(users),
        active_ndcg=float(found[0].mean()),
        new_ndcg=float(found[1].mean()),
        difference=float(differences.mean()),
        standard_error=float(differences.std(ddof=1)) / math.sqrt(len(users)),
    )


def _histories(prepared: Prepared, chosen: Sequence[int]) -> list[tuple[tuple[str, float], ...]]:
    source = prepared.pair.source
    indptr = np.searchsorted(source.user_rows, np.arange(len(source.users) + 1))
    histories = []
    for place in chosen:
        row = int(prepared.test.source_rows[place])
        mine = slice(int(indptr[row]), int(indptr[row + 1]))
        items = source.items.take(source.item_rows[mine])
        histories.append(tuple(zip(items, source.ratings[mine].tolist(), strict=True)))
    return histories


def _relevant(prepared: Prepared, chosen: Sequence[int]) -> UserLists:
    ratings = prepared.test.ratings
    position = np.full(ratings.n_users, -1, dtype=np.int64)
    position[list(chosen)] = np.arange(len(chosen))
    mine = position[ratings.users] >= 0
    return UserLists.build(position[ratings.users[mine]], ratings.items[mine], n_users=len(chosen))


def _lists(
    recommender: Recommender, users: Sequence[str], histories: Sequence[tuple[tuple[str, float], ...]], of: Prepared
) -> Int64Array:
    """Lists [U, K] as item rows of the new data; items that these do not know have rows after the last; -1: none."""
    known = recommender.bundle.source_users.ids
    queries = [
        Query(user, k=K) if known.row(user) >= 0 else Query(user, k=K, history=history)
        for user, history in zip(users, histories, strict=True)
    ]
    items, others = of.pair.target.items, dict[str, int]()
    lists = np.full((len(users), K), -1, dtype=np.int64)
    for place, answer in enumerate(recommender.answer(queries)):
        if isinstance(answer, Recommendation):
            for rank, item in enumerate(answer.item_ids):
                row = items.row(item)
                lists[place, rank] = row if row >= 0 else len(items) + others.setdefault(item, len(others))
    return lists
