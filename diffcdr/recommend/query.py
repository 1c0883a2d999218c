"""Queries to a recommender, and its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Strategy = Literal["transfer", "fold_in", "warm", "popular"]
FallbackReason = Literal["unknown_user", "no_usable_history", "opted_out", "vectors_unavailable", "state_unavailable"]
UnexplainedReason = Literal["not_personal", "no_histories", "no_item_vectors", "not_finite"]
"""``not_personal``: the list is the popular one. ``no_histories``: the bundle does not hold what the user rated.
``no_item_vectors``: no rule leads from source items to this bundle's scores. ``not_finite``: a share leaves float64."""

NAMED = 5
"""Most source ratings that an explanation names."""

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
    explain: bool = False
    """Say of each item which ratings its score is the sum of (:mod:`diffcdr.recommend.explain`)."""


class ListedItem(NamedTuple):
    """One place of a ranked list; ``title`` is None where the bundle has none."""

    item_id: str
    title: str | None
    score: float


@dataclass(frozen=True, slots=True)
class SourceShare:
    """A source rating that spoke for the item; ``share`` is above 0, in units of the score.

    ``title`` is None where the bundle has none.
    """

    item_id: str
    title: str | None
    rating: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The shares of one score: all of them together, those of ``sources`` included, add up to it."""

    sources: tuple[SourceShare, ...]
    """Up to ``NAMED`` source ratings that spoke most for the item, most first."""
    other_sources: float
    """All other source ratings, those that spoke against the item among them."""
    target_ratings: float
    """The user's target ratings."""
    base: float
    """What a user without ratings has: offset, item bias, and where the model puts such a user."""
    rest: float
    """What nothing of this accounts for; see docs/decisions/explanations.md."""

    @property
    def total(self) -> float:
        """The score, up to rounding."""
        named = sum(source.share for source in self.sources)
        return named + self.other_sources + self.target_ratings + self.base + self.rest


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
    explanations: list[Explanation] | None = None
    """Where asked for, why each item is here, parallel to the items; None where it cannot be said."""
    unexplained_reason: UnexplainedReason | None = None
    """Where asked for, why that cannot be said."""

    def __iter__(self) -> Iterator[ListedItem]:
        """The items, best first."""
        return map(ListedItem, self.item_ids, self.titles, self.scores)

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class UserUnknown:
    """The answer to a query that denies the fallback, for a user without any data."""

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
