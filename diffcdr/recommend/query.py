"""What is asked of a recommender, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Strategy = Literal["transfer", "fold_in", "warm", "popular"]
FallbackReason = Literal["unknown_user", "no_usable_history", "opted_out", "vectors_unavailable", "state_unavailable"]

ROW_STRATEGIES: tuple[Strategy, ...] = ("popular", "transfer", "warm")
"""What :attr:`TopRows.strategies` indexes."""


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a ranked list."""

    user_id: str | None
    k: int = 20
    """Length of the list, at least 1."""
    exclude_items: tuple[str, ...] = ()
    """Target item ids never to answer with; unknown ids are ignored."""
    exclude_seen: bool = True
    """Leave out the items the user rated in training (warm users have some)."""
    history: tuple[tuple[str, float], ...] = ()
    """(source item id, rating) pairs for fold-in; takes precedence over what is stored of the user."""
    target_history: tuple[tuple[str, float], ...] = ()
    """(target item id, rating) pairs that the user's vector is moved by; the items count as seen."""
    allow_fallback: bool = True
    """Answer with the popular list where nothing personal is possible; else with :class:`UserUnknown`."""
    personalise: bool = True
    """False for a user who opted out: the popular list, and nothing stored of the user is looked at."""
    denied_reason: Literal["opted_out", "state_unavailable"] = "opted_out"
    """Why not, where ``personalise`` is False: by wish, or because nobody can tell what is wished."""
    source_vector: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    """The user's source vector, float32 [source_dim], where the bundle does not keep it; a warm user needs none."""
    unknown_reason: FallbackReason = "unknown_user"
    """Why, should nothing be known about the user."""
    diversity: float = 0.0
    """0 to 1: how much items of a personal list give way to others unlike them (:mod:`diffcdr.search.diversity`)."""
    offset: int | None = None
    """A page: leave out so many items from the beginning. Pages of one list all name it, the first one 0."""


class ListedItem(NamedTuple):
    """One place of a ranked list; ``title`` is None where the bundle has none."""

    item_id: str
    title: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranked list, best first; iterating gives each :class:`ListedItem`.

    ``item_ids``, ``scores`` and ``titles`` are parallel, at most k long.
    """

    item_ids: list[str]
    scores: list[float]
    """Predicted score; on the popular list, the item's number of training ratings."""
    titles: list[str | None]
    strategy: Strategy
    fallback_reason: FallbackReason | None
    offset: int = 0
    """How many items of the list come before these."""

    def __iter__(self) -> Iterator[ListedItem]:
        """The items, best first."""
        return map(ListedItem, self.item_ids, self.titles, self.scores)

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class UserUnknown:
    """The answer to a query that allows no fallback and that nothing personal can be said about."""

    reason: FallbackReason


@dataclass(frozen=True, slots=True)
class TopRows:
    """Ranked item rows of many users, for bulk work.

    ``items``: int32 [B, k], -1 where fewer items are left than k; ``scores``: float32 [B, k];
    ``strategies``: uint8 [B], an index into ``ROW_STRATEGIES``.
    """

    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    strategies: npt.NDArray[np.uint8]
