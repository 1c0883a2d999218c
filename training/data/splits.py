"""The split of the overlap users into training, validation and test users, and the ratings of each part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffcdr.arrays import Int64Array
from diffcdr.errors import InputError
from training.data.domains import Domain, DomainPair
from training.rating_table import RatingTable


@dataclass(frozen=True)
class Split:
    """Positions in the overlap order (``DomainPair.overlap_source`` and ``overlap_target``), each int64 ascending."""

    train: Int64Array
    validation: Int64Array
    test: Int64Array

    def counts(self) -> dict[str, int]:
        """Users in each part, as the manifest records them."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


@dataclass(frozen=True)
class HeldOutTables:
    """The target domain's ratings, by part of the split.

    ``train``: all of them less those of validation and test users; users and items are rows of the domain.
    ``validation``, ``test``: theirs; user 0..U-1 is the position in ``Split.validation`` or ``Split.test``.
    """

    train: RatingTable
    validation: RatingTable
    test: RatingTable


def split_overlap(
    ids: Sequence[str], *, test_fraction: float, validation_fraction: float, min_validation_users: int = 0, seed: int
) -> Split:
    """Split the overlap users ``ids``.

    Each user's place follows from a hash of the seed and the id alone, so the split depends neither on the order of
    rows in any file nor on library versions, and changes little when users come or go.

    Args:
        ids: the overlap users, without repetition; the split holds positions in it.
        test_fraction: share (0 to 1) of all users held out for the evaluation (the paper's beta).
        validation_fraction: share (0 to 1) of the remaining users held out for choices.
        min_validation_users: where that share is fewer users than this, so many are taken, but no more than a quarter.
        seed: any integer.

    Raises:
        InputError: a part would be empty.
    """
    n = len(ids)
    for name, value in (("test fraction", test_fraction), ("validation fraction", validation_fraction)):
        if not 0 < value < 1:
            raise InputError(f"the {name} must lie between 0 and 1, and {value:g} does not; give one such as 0.2")
    n_test = round(n * test_fraction)
    n_validation = round((n - n_test) * validation_fraction)
    n_validation = max(n_validation, min(min_validation_users, (n - n_test) // 4))
    n_train = n - n_test - n_validation
    if min(n_test, n_validation, n_train) < 1:
        raise InputError(
            f"{n} users in both domains, split by test fraction {test_fraction:g} and validation fraction "
            f"{validation_fraction:g}, leave {n_train} for training, {n_validation} for validation and {n_test} for "
            "the test; each needs at least one: change the fractions or give files with more shared users"
        )
    order = sorted(range(n), key=lambda position: _place(ids[position], seed))
    test, validation, train = np.split(np.array(order, dtype=np.int64), [n_test, n_test + n_validation])
    return Split(train=np.sort(train), validation=np.sort(validation), test=np.sort(test))


def test_users(ids: Sequence[str], *, test: int, seed: int) -> list[str]:
    """The ``test`` users of ``ids`` that :func:`split_overlap` holds out for the test with ``seed``."""
    return sorted(ids, key=lambda user: _place(user, seed))[: max(0, test)]


def ratings_without(domain: Domain, users: Int64Array) -> RatingTable:
    """All ratings of ``domain`` but those of ``users``, rows of it."""
    held = np.zeros(len(domain.users), dtype=bool)
    held[users] = True
    keep = ~held[domain.user_rows]
    return RatingTable(
        users=domain.user_rows[keep],
        items=domain.item_rows[keep],
        ratings=domain.ratings[keep],
        n_users=len(domain.users),
        n_items=len(domain.items),
    )


def hold_out(pair: DomainPair, split: Split) -> HeldOutTables:
    """Take the held-out users' target ratings away from training."""
    train = ratings_without(pair.target, pair.overlap_target[np.concatenate([split.validation, split.test])])
    return HeldOutTables(
        train=train,
        validation=ratings_of(pair.target, pair.overlap_target[split.validation]),
        test=ratings_of(pair.target, pair.overlap_target[split.test]),
    )


def all_ratings(domain: Domain) -> RatingTable:
    """The ratings of all users. In the source, held-out users keep theirs: recommendations are made from them."""
    return RatingTable(
        users=domain.user_rows,
        items=domain.item_rows,
        ratings=domain.ratings,
        n_users=len(domain.users),
        n_items=len(domain.items),
    )


def _place(user: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{user}".encode(), digest_size=16).digest()


def ratings_of(target: Domain, users: Int64Array) -> RatingTable:
    """The ratings of ``users`` (ascending rows of ``target``), their position taking the place of the row."""
    position = np.full(len(target.users), -1, dtype=np.int64)
    position[users] = np.arange(len(users))
    of_row = position[target.user_rows]
    keep = of_row >= 0
    return RatingTable(
        users=of_row[keep],
        items=target.item_rows[keep],
        ratings=target.ratings[keep],
        n_users=len(users),
        n_items=len(target.items),
    )
