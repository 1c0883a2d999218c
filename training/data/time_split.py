"""The split by time: training knows what happened up to a cut, and is judged by what new users did after it.

Nothing later reaches training by construction: both domains are cut to the ratings up to that moment before anything
is computed, and their users and items are those that these ratings name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import BoolArray, Int64Array
from diffcdr.bundle.ids import IdTable
from diffcdr.errors import InputError
from training.data.domains import Domain, DomainPair, pair_domains
from training.data.splits import Split, split_overlap
from training.data.times import in_microseconds
from training.rating_table import RatingTable

MIN_BEFORE, MIN_AFTER = 40, 10
"""Fewer users in both domains before the cut, or new ones after it, tell no models apart."""


@dataclass(frozen=True)
class TimeSplit:
    """Both domains as they were at the cut, and the ratings that came after it.

    ``pair``: the ratings up to the cut; of the target's users the test users have none. ``split``: its overlap users;
    ``test`` are those without target ratings at the cut. ``later``: their target ratings after it, of items known at
    the cut; user 0..U-1 is the position in ``split.test``. ``cut``: microseconds since 1970, the last moment of
    training. ``unknown_items``: further ratings of theirs, of items that nobody had rated by then.
    """

    pair: DomainPair
    split: Split
    later: RatingTable
    cut: int
    unknown_items: int


def split_by_time(
    pair: DomainPair, *, test_fraction: float, validation_fraction: float, min_validation_users: int = 0, seed: int
) -> TimeSplit:
    """Cut both domains of ``pair`` at the moment after which ``test_fraction`` of the target's ratings were given.

    Test users rated in the source up to the cut, and in the target only after it. Validation users are drawn from the
    other overlap users as by :func:`split_overlap`, so that choices look at nothing later than the cut either. Where a
    file holds several ratings of an item by a user, cleaning kept the last; the earlier ones are in neither part.

    Raises:
        InputError: a domain has ratings without a time, or too few users remain before the cut or come after it.
    """
    source_times, target_times = times_of(pair.source), times_of(pair.target)
    if not 0 < test_fraction < 1:
        raise InputError(f"the test fraction must lie between 0 and 1, and {test_fraction:g} does not; give 0.2")
    place = max(0, round(len(target_times) * (1 - test_fraction)) - 1)
    cut = int(np.partition(target_times, place)[place])
    early, known = target_times <= cut, source_times <= cut
    target = pair.target

    in_source, in_target = np.zeros((2, len(target.users)), dtype=bool)
    of_source = np.zeros(len(pair.source.users), dtype=bool)
    of_source[pair.source.user_rows[known]] = True
    in_source[pair.overlap_target] = of_source[pair.overlap_source]
    in_target[target.user_rows[early]] = True
    in_items = np.zeros(len(target.items), dtype=bool)
    in_items[target.item_rows[early]] = True
    of_new = ~early & (in_source & ~in_target)[target.user_rows]
    later = of_new & in_items[target.item_rows]
    new = np.zeros(len(target.users), dtype=bool)
    new[target.user_rows[later]] = True
    _check_users(int((in_source & in_target).sum()), int(new.sum()), cut)

    past = pair_domains(_past(pair.source, known, cut), _past(target, early, cut, more_users=new))
    is_test = new[target.users.rows_of(past.target.users.array[past.overlap_target])]
    split = _split(past, is_test, (test_fraction, validation_fraction, min_validation_users), seed=seed)
    position = np.cumsum(new) - 1
    return TimeSplit(
        pair=past,
        split=split,
        later=RatingTable(
            users=position[target.user_rows[later]],
            items=(np.cumsum(in_items) - 1)[target.item_rows[later]],
            ratings=target.ratings[later],
            n_users=len(split.test),
            n_items=len(past.target.items),
        ),
        cut=cut,
        unknown_items=int(of_new.sum() - later.sum()),
    )


def times_of(domain: Domain) -> Int64Array:
    """When each rating of ``domain`` was given, in microseconds since 1970. Raises InputError where it is not known."""
    if domain.timestamps is None:
        raise InputError(
            f"--split time needs the time of every rating, and {domain.file.name} lacks some or all; give a file with "
            "a timestamp column, or --split user"
        )
    frame = pl.DataFrame({"time": domain.timestamps})
    return frame.select(in_microseconds(pl.col("time"))).to_series().to_numpy()


def moment(microseconds: int) -> str:
    """``microseconds`` since 1970 as ISO 8601, in UTC."""
    try:
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        return f"{microseconds / 1e6:g} seconds after 1970"
    return found.isoformat().replace("+00:00", "Z")


def _check_users(before: int, after: int, cut: int) -> None:
    if after < MIN_AFTER or before < MIN_BEFORE:
        raise InputError(
            f"--split time cuts at {moment(cut)}: {before:,} users are in both domains by then and {after:,} who had "
            f"rated in the source rate in the target for the first time after it, and at least {MIN_BEFORE} and "
            f"{MIN_AFTER} are needed; give another --test-fraction, or --split user"
        )


def _split(pair: DomainPair, is_test: BoolArray, shares: tuple[float, float, int], *, seed: int) -> Split:
    """The overlap users of ``pair``: those of ``is_test`` for the test, the others divided as by ``split_overlap``."""
    test_fraction, validation_fraction, min_validation_users = shares
    others = np.flatnonzero(~is_test)
    ids = pair.source.users.take(pair.overlap_source[others])
    # Of the others none is for the test: the users that this division would hold out are training users here.
    own = split_overlap(
        ids,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        min_validation_users=min_validation_users,
        seed=seed,
    )
    train = np.sort(np.concatenate([own.train, own.test]))
    return Split(train=others[train], validation=others[own.validation], test=np.flatnonzero(is_test))


def _past(domain: Domain, keep: BoolArray, cut: int, *, more_users: BoolArray | None = None) -> Domain:
    """``domain`` with the ratings of ``keep`` [R], the users and items that they name, and ``more_users``."""
    users, items = np.zeros(len(domain.users), dtype=bool), np.zeros(len(domain.items), dtype=bool)
    users[domain.user_rows[keep]] = True
    items[domain.item_rows[keep]] = True
    if more_users is not None:
        users |= more_users
    rows = np.flatnonzero(items)
    how = {"split": f"{np.count_nonzero(keep):,} of {len(keep):,} ratings, those up to {moment(cut)}"}
    return replace(
        domain,
        users=IdTable(domain.users.array[users]),
        items=IdTable(domain.items.array[items]),
        user_rows=_renumbered(users, domain.user_rows[keep]),
        item_rows=_renumbered(items, domain.item_rows[keep]),
        ratings=domain.ratings[keep],
        timestamps=None if domain.timestamps is None else domain.timestamps[keep],
        titles=None if domain.titles is None else [domain.titles[row] for row in rows.tolist()],
        attributes=domain.attributes.take(rows),
        file=domain.file.model_copy(update={"how": {**domain.file.how, **how}}),
    )


def _renumbered(kept: BoolArray, rows: Int64Array) -> npt.NDArray[np.int64]:
    """``rows`` as positions among the ``kept`` ones."""
    return (np.cumsum(kept) - 1)[rows]
