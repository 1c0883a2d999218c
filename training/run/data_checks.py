"""What is found out about the data before any training: whether all that was asked for can be computed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import BoolArray
from diffcdr.errors import InputError
from training.config import SplitConfig, TrainConfig
from training.data.domains import Domain, DomainPair
from training.data.doubts import doubt
from training.run.division import Divided, divide

MIN_OVERLAP = 50
"""Fewer shared users than this leave test sets on which models cannot be told apart."""


HISTORY_MODELS = {
    "ptupcdr": "transfers them all by one bridge, that of an empty history",
    "mwuf": "shifts them all alike",
}
"""Models that learn from source items rated above a threshold, and what they make of users without any."""


def check_data(
    pair: DomainPair,
    config: TrainConfig,
    *,
    models: Iterable[str],
    test_fractions: Sequence[float],
    seeds: Sequence[int],
    accepted: Collection[str] = (),
) -> list[str]:
    """Raise where a run cannot be done or would mean nothing; returns a warning for each thing that is merely odd.

    Args:
        pair: the data.
        config: the settings; their test fraction is not looked at.
        models: names of the models to train.
        test_fractions: every share of overlap users to be held out.
        seeds: of the splits.
        accepted: doubts that the caller has laid aside.

    Raises:
        InputError: too few users in both domains, a domain of one item, a fraction that leaves a part without users,
            or no training user with a history for a model that learns from histories.
    """
    overlap = len(pair.overlap_source)
    if overlap < MIN_OVERLAP:
        raise InputError(
            f"only {overlap} users occur in both {pair.source.file.name} and {pair.target.file.name}, and at least "
            f"{MIN_OVERLAP} are needed to tell models apart; give files with more shared users"
        )
    for side, domain in (("source", pair.source), ("target", pair.target)):
        if len(domain.items) < 2:
            raise InputError(
                f"{domain.file.name} has ratings of {len(domain.items)} item only, which leaves nothing to predict "
                f"or to rank; give a file with more items, or name the item's column with --{side}-columns"
            )
    for fraction in test_fractions:
        _divided(pair, config.split, fraction, seed=0)
    warnings = [*check_prepared(pair, accepted=accepted), *_meaning(pair, accepted)]
    for name in HISTORY_MODELS:
        if name in models:
            warnings += _histories(pair, config, test_fractions, seeds, name=name)
    return warnings


def check_prepared(pair: DomainPair, *, accepted: Collection[str]) -> list[str]:
    """What is looked at before tables are written: whether the two files are one.

    Raises:
        Doubt: they hold the same ratings.
    """
    source, target = pair.source, pair.target
    same = source.file.sha256 == target.file.sha256 or _shared_ratings(pair) >= _SAME_SHARE * len(target.ratings)
    if not same:
        return []
    text = (
        f"{source.file.name} and {target.file.name} hold the same ratings: the ratings to predict would be known; "
        "give the ratings of two domains"
    )
    return doubt("same-ratings", text, accepted=accepted)


def _meaning(pair: DomainPair, accepted: Collection[str]) -> list[str]:
    """Data that can be learnt from and tells nothing, or something else than it seems to."""
    source, target, warnings = pair.source, pair.target, []
    for side, domain in (("source", source), ("target", target)):
        if domain.ratings.min() == domain.ratings.max():
            text = (
                f"{domain.file.name}: every rating is {domain.ratings[0]:g}, so nothing says who liked what; "
                f"check which column holds the rating (--{side}-columns rating=NAME)"
            )
            warnings += doubt("equal-ratings", text, accepted=accepted)
    items = _known(source, target)
    if items >= _SAME_SHARE * min(len(source.items), len(target.items)):
        text = (
            f"{items:,} of the {len(target.items):,} item ids of {target.file.name} are items of {source.file.name}; "
            "two domains have items of their own"
        )
        if _numbers(source.items.array) and _numbers(target.items.array):
            warnings.append(f"{text}: both number their items, so the same id means another item in each")
        else:
            warnings += doubt("same-items", f"{text}: check the files", accepted=accepted)
    shared = len(pair.overlap_source)
    if shared == len(source.users) == len(target.users):
        text = f"every user of {source.file.name} is in {target.file.name} too, and none is new to it"
        if _numbers(source.users.array) and _numbers(target.users.array):
            text = f"{text}; both number them from the start: is the same number the same person?"
            warnings += doubt("same-numbers", text, accepted=accepted)
        else:
            warnings.append(text)
    return warnings


_SAME_SHARE = 0.9


def _known(source: Domain, target: Domain) -> int:
    return len(np.intersect1d(source.items.array, target.items.array, assume_unique=True))


def _shared_ratings(pair: DomainPair) -> int:
    """Ratings of the target domain that the source has too: user, item and value."""
    source, target = pair.source, pair.target
    if _known(source, target) < _SAME_SHARE * len(target.items):
        return 0
    items = source.items.rows_of(target.items.array)
    users = np.full(len(target.users), -1, dtype=np.int64)
    users[pair.overlap_target] = pair.overlap_source
    user, item = users[target.user_rows], items[target.item_rows]
    both = (user >= 0) & (item >= 0)
    wide = len(source.items)
    wanted = user[both] * wide + item[both]
    there = source.user_rows * wide + source.item_rows  # ascending, as ratings are ordered
    at = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
    return int(((there[at] == wanted) & (source.ratings[at] == target.ratings[both])).sum())


def _numbers(ids: npt.NDArray[np.bytes_]) -> bool:
    """Whether ``ids`` are running numbers: 0 or 1 to about as many as there are."""
    try:
        values = np.array([int(text) for text in ids.tolist()])
    except ValueError:
        return False
    return bool(values.min() in (0, 1) and values.max() <= 1.1 * len(values) + 1)


def _histories(
    pair: DomainPair, config: TrainConfig, test_fractions: Sequence[float], seeds: Sequence[int], *, name: str
) -> list[str]:
    """Model ``name`` learns from training users with a history: source items rated above its threshold."""
    threshold, source = float(getattr(config, name).threshold), pair.source
    shared = _with_history(pair, threshold)
    for fraction in test_fractions:
        for seed in seeds:
            divided = _divided(pair, config.split, fraction, seed=seed)
            training = divided.split.train
            if not _with_history(divided.pair, threshold)[training].any():
                raise InputError(
                    f"none of the {len(training):,} training users (test fraction {fraction:g}, seed {seed}) has rated "
                    f"an item of {source.file.name} above {threshold:g}, so {name} has no history to learn from; "
                    f"lower it with --set {name}.threshold=…, or leave {name} out of --models"
                )
    without = int((~shared).sum())
    if not without:
        return []
    return [
        f"{without:,} of {len(shared):,} shared users have rated nothing above {threshold:g} in {source.file.name}; "
        f"{name} {HISTORY_MODELS[name]}"
    ]


def _with_history(pair: DomainPair, threshold: float) -> BoolArray:
    """Which overlap users have rated a source item above ``threshold``."""
    found = np.zeros(len(pair.source.users), dtype=bool)
    found[pair.source.user_rows[pair.source.ratings > threshold]] = True
    return found[pair.overlap_source]


def _divided(pair: DomainPair, split: SplitConfig, fraction: float, *, seed: int) -> Divided:
    return divide(pair, split.model_copy(update={"test_fraction": fraction}), seed=seed)
