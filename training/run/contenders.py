"""Plain competitors that are fitted along with DiffCDR: for which the data is too large, and which no index serves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from diffcdr.errors import InputError
from diffcdr.search.build_index import IndexOptions
from training.config import TrainConfig
from training.data.domains import DomainPair
from training.models.closed_form.blend_config import BlendDiffCDRConfig

MOST_SHARED_USERS = 6_000
"""Up to these, dual ridge's square systems take seconds."""
MOST_PAIRS = 20_000_000
"""Pairs of a source and a target rating of one shared user, up to which counting neighbours takes seconds."""
MOST_TARGET_ITEMS = 10_000
"""Up to these, SLIM's regressions, one for each target item, take seconds."""
WITH_SPARSE_TERM = frozenset({"itemknn", "slim"})
"""Models whose scores are a sparse term."""


def too_large(pair: DomainPair) -> dict[str, str]:
    """Why a competitor would take more than seconds, by its name."""
    found, shared = {}, len(pair.overlap_source)
    if shared > MOST_SHARED_USERS:
        found["dual_ridge"] = f"{shared:,} shared users are more than {MOST_SHARED_USERS:,}"
    pairs = _pairs(pair)
    if pairs > MOST_PAIRS:
        found["itemknn"] = found["slim"] = f"{pairs:,} pairs of ratings of one user are more than {MOST_PAIRS:,}"
    elif len(pair.target.items) > MOST_TARGET_ITEMS:
        found["slim"] = f"{len(pair.target.items):,} target items are more than {MOST_TARGET_ITEMS:,}"
    return found


def _pairs(pair: DomainPair) -> int:
    source = np.bincount(pair.source.user_rows, minlength=len(pair.source.users))[pair.overlap_source]
    target = np.bincount(pair.target.user_rows, minlength=len(pair.target.users))[pair.overlap_target]
    return int(source @ target)


def is_indexed(pair: DomainPair, index: IndexOptions | None) -> bool:
    """Whether the items of ``pair`` will be searched by an approximate index."""
    return index is not None and len(pair.target.items) > index.above


def check_indexed(names: Iterable[str], config: TrainConfig) -> None:
    """Refuse an index, before any training, for models of ``names`` whose scores may have a sparse term.

    Raises:
        InputError: there is one; the message says what to do.
    """
    for name in names:
        if name in WITH_SPARSE_TERM:
            raise InputError(
                f"{name} may be published, and an item index ignores the sparse term that it scores with; "
                "leave out --approximate-above, or name another model with --model"
            )
        settings = config.diffcdr
        if name == "diffcdr" and isinstance(settings, BlendDiffCDRConfig) and any(settings.neighbour_shares):
            raise InputError(
                "an item index ignores the sparse term that diffcdr may score with; leave out "
                "--approximate-above, or the term by --set diffcdr.neighbour_shares=[0.0]"
            )
