"""Queries to a recommender, and its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from diffcdr.errors import InputError
from diffcdr.filtering.caps import Caps
from diffcdr.filtering.changes import ItemChanges
from diffcdr.filtering.item_filter import ItemFilter

Strategy = Literal["transfer", "fold_in", "warm", "popular"]
FallbackReason = Literal["unknown_user", "no_usable_history", "opted_out", "vectors_unavailable", "state_unavailable"]
UnexplainedReason = Literal["not_personal", "no_histories", "no_item_vectors", "not_finite"]
"""``not_personal``: this is the popular list. ``no_histories``: the bundle does not contain the user's ratings.
``no_item_vectors``: no rule leads from source items to this bundle's scores. ``not_finite``: a share overflows."""

NAMED = 5
"""Most source ratings that an explanation names."""
EmptyReason = Literal["no_item_allowed", "all_excluded", "past_the_end", "availability_unknown"]

ROW_STRATEGIES: tuple[Strategy, ...] = ("popular", "transfer", "warm")
"""What :attr:`TopRows.strategies` indexes."""


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a ranked list."""

    user_id: str | None
    k: int = 20
    """Length of the list, at least 1."""
    exclude_items: tuple[str, ...] = ()
    """Target item ids that must not be in the list; unknown ids are ignored."""
    exclude_seen: bool = True
    """Leave out the items the user rated in training (warm users have some)."""
    history: tuple[tuple[str, float], ...] = ()
    """(source item id, rating) pairs for fold-in; takes precedence over the user's stored ratings."""
    target_history: tuple[tuple[str, float], ...] = ()
    """(target item id, rating) pairs that move the user's vector; the items count as seen."""
    allow_fallback: bool = True
    """If no personal list is possible, answer with the popular list; if False, with :class:`UserUnknown`."""
    personalise: bool = True
    """False for a user who opted out: the answer is the popular list, and the user's stored data are not read."""
    denied_reason: Literal["opted_out", "state_unavailable"] = "opted_out"
    """Why ``personalise`` is False: the user opted out, or opt-outs cannot be read."""
    source_vector: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    """The user's source vector, float32 [source_dim], if the bundle does not store it; a warm user needs none."""
    unknown_reason: FallbackReason = "unknown_user"
    """The fallback reason if nothing is known about the user."""
    diversity: float = 0.0
    """0 to 1: how strongly a personal list avoids similar items (:mod:`diffcdr.search.diversity`)."""
    offset: int | None = None
    """For pages: skip this many items from the beginning. All pages of a list set it, the first one to 0."""
    explain: bool = False
    """Explain how each score adds up from the user's ratings (:mod:`diffcdr.recommend.explain`)."""
    filter: ItemFilter | None = None
    """Which items the list may contain; None for all that are available."""
    caps: Caps = ()
    """At most so many items of the list may share a value of an attribute (:mod:`diffcdr.filtering.caps`)."""
    changes: ItemChanges | None = field(default=None, compare=False)
    """Changes of items since the bundle was made; None for no changes."""

    def check(self) -> None:
        """Raise InputError if ``k``, ``offset`` or ``diversity`` is out of range."""
        if (self.offset or 0) < 0:
            raise InputError("offset must be at least 0")
        if self.k < 1:
            raise InputError("k must be at least 1")
        if not 0.0 <= self.diversity <= 1.0:
            raise InputError(f"diversity must lie between 0 and 1, and is {self.diversity}")


class ListedItem(NamedTuple):
    """One item of a ranked list; ``title`` is None if the bundle has none."""

    item_id: str
    title: str | None
    score: float


@dataclass(frozen=True, slots=True)
class SourceShare:
    """A source rating that raised the score of the item; ``share`` is above 0, in units of the score.

    ``title`` is None if the bundle has none.
    """

    item_id: str
    title: str | None
    rating: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one score adds up: it is the sum of the shares in ``sources`` and the other four parts."""

    sources: tuple[SourceShare, ...]
    """Up to ``NAMED`` source ratings that raised the score most, largest share first."""
    other_sources: float
    """All other source ratings, including those that lower the score."""
    target_ratings: float
    """All of the user's target ratings together."""
    base: float
    """The score for a user without ratings: offset, item bias, and the vector that the model gives such a user."""
    rest: float
    """What no other part accounts for; see docs/decisions/explanations.md."""

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
    """Only with ``explain``: the explanation of each item, parallel to the items; None if there is none."""
    unexplained_reason: UnexplainedReason | None = None
    """Only with ``explain``: why there is no explanation."""
    empty_reason: EmptyReason | None = None
    """Why the list is empty: filter and availability allow no item; all allowed items are seen or excluded; the page
    begins after the end of the list; or it is unknown which items are available."""

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

    ``items``: int32 [B, k], -1 if fewer than k items are left; ``scores``: float32 [B, k];
    ``strategies``: uint8 [B], an index into ``ROW_STRATEGIES``.
    """

    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    strategies: npt.NDArray[np.uint8]
