"""Two bundles on the same held-out users, each asked as the service asks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from diffcdr.arrays import Int64Array
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.errors import InputError
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from training.data.splits import test_users
from training.evaluation.paired import difference_by_user
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

    Each is asked for what it shows a user with today's source ratings and no target ratings. Items are told apart by
    id, so an item that came after the active bundle is a miss for it.

    Raises:
        InputError: there are fewer than ``MIN_USERS`` such users.
        BundleError: a bundle cannot be read.
    """
    asked = [Recommender(open_bundle(path)) for path in (active, new)]
    everyone = prepared.pair.target.users.take(prepared.pair.overlap_target[prepared.split.test])
    counts = np.bincount(prepared.test.ratings.users, minlength=len(everyone))
    unlearnt = _unlearnt(asked[0].bundle)
    chosen = [place for place, user in enumerate(everyone) if counts[place] and unlearnt(user)]
    if len(chosen) < MIN_USERS:
        raise InputError(
            f"only {len(chosen)} held-out users are new to both bundles, and at least {MIN_USERS} are needed to "
            "compare them; train with the seed and the test fraction of the active bundle, or give --no-guard"
        )
    users = [everyone[place] for place in chosen]
    histories = _histories(prepared, chosen)
    relevant = _relevant(prepared, chosen)
    of_active, of_new = (ranking_metrics(_lists(each, users, histories, prepared), relevant).ndcg for each in asked)
    found = difference_by_user(of_new, of_active)
    assert found.standard_error is not None, "there are several users"
    return Comparison(
        users=len(users),
        active_ndcg=float(of_active.mean()),
        new_ndcg=float(of_new.mean()),
        difference=found.ndcg,
        standard_error=found.standard_error,
    )


def _unlearnt(bundle: Bundle) -> Callable[[str], bool]:
    """Whether the model of ``bundle`` was fitted without the target ratings of a user, if they had any.

    That is so for users without target ratings in the bundle; and for its test users, to whom the bundle may have
    given their ratings afterwards. These are found again from seed and ids. Where the bundle does not know some of its
    overlap users, those at the edge are taken as learnt from.
    """
    provenance, target = bundle.manifest.provenance, bundle.target_users.ids
    known = np.intersect1d(bundle.source_users.ids.array, target.array, assume_unique=True)
    held_out = set[str]()
    if provenance.held_out == "known" and provenance.cut is None:
        missing = bundle.manifest.counts.overlap_users - len(known)
        ids = [text.decode() for text in known.tolist()]
        held_out |= set(test_users(ids, test=provenance.split["test"] - missing, seed=provenance.seed))
    return lambda user: target.row(user) < 0 or user in held_out


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
    source, folds = recommender.bundle.source_users, recommender.bundle.manifest.fold_in is not None
    queries = [
        # Without their name, as a bundle may know target ratings of theirs by now.
        Query(None, k=K, history=history)
        if folds or (row := source.ids.row(user)) < 0
        else Query(None, k=K, source_vector=source.vectors[row])
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
