"""What is found out about the data before any training: whether all that was asked for can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from diffcdr.errors import InputError
from training.config import SplitConfig, TrainConfig
from training.data.domains import DomainPair
from training.data.splits import Indices, split_overlap

MIN_OVERLAP = 50
"""Fewer shared users than this leave test sets on which models cannot be told apart."""


def check_data(
    pair: DomainPair,
    config: TrainConfig,
    *,
    models: Iterable[str],
    test_fractions: Sequence[float],
    seeds: Sequence[int],
) -> list[str]:
    """Raise where a run cannot be done or would mean nothing; returns a warning for each thing that is merely odd.

    Args:
        pair: the data.
        config: the settings; their test fraction is not looked at.
        models: names of the models to train.
        test_fractions: every share of overlap users to be held out.
        seeds: of the splits.

    Raises:
        InputError: too few users in both domains, a domain of one item, a fraction that leaves a part without users,
            or no training user with a history for PTUPCDR.
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
        _training_users(pair, config.split, fraction, seed=0)
    if "ptupcdr" not in models:
        return []
    return _histories(pair, config, test_fractions, seeds)


def _histories(
    pair: DomainPair, config: TrainConfig, test_fractions: Sequence[float], seeds: Sequence[int]
) -> list[str]:
    """PTUPCDR learns from training users with a history: source items rated above its threshold."""
    threshold, source = config.ptupcdr.threshold, pair.source
    has_history = np.zeros(len(source.users), dtype=bool)
    has_history[source.user_rows[source.ratings > threshold]] = True
    shared = has_history[pair.overlap_source]
    for fraction in test_fractions:
        for seed in seeds:
            training = _training_users(pair, config.split, fraction, seed=seed)
            if not shared[training].any():
                raise InputError(
                    f"none of the {len(training):,} training users (test fraction {fraction:g}, seed {seed}) has rated "
                    f"an item of {source.file.name} above {threshold:g}, so ptupcdr has no history to learn from; "
                    "lower it with --set ptupcdr.threshold=…, or leave ptupcdr out of --models"
                )
    without = int((~shared).sum())
    if not without:
        return []
    return [
        f"{without:,} of {len(shared):,} shared users have rated nothing above {threshold:g} in {source.file.name}; "
        "ptupcdr carries them all by one bridge, that of an empty history"
    ]


def _training_users(pair: DomainPair, split: SplitConfig, fraction: float, *, seed: int) -> Indices:
    return split_overlap(
        pair.overlap_ids(),
        test_fraction=fraction,
        validation_fraction=split.validation_fraction,
        min_validation_users=split.min_validation_users,
        seed=seed,
    ).train
