"""Ranked lists of many users as one table, for bulk work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from diffcdr.errors import InputError
from diffcdr.files.users import USER_COLUMN
from diffcdr.filtering.caps import Caps, check_caps
from diffcdr.filtering.changes import ItemChanges, named_list
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.filtering.masks import check_filter
from diffcdr.recommend.query import ROW_STRATEGIES, TopRows

if TYPE_CHECKING:
    from diffcdr.bundle.reader import Bundle
    from diffcdr.recommend.recommender import Recommender

Layout = Literal["long", "lists"]

BATCH_USERS = 2_048


@dataclass(frozen=True)
class ScoreOptions:
    """The options of the lists, and their layout in the table.

    ``diversity``: 0 to 1, see :mod:`diffcdr.search.diversity`.
    ``layout`` "long": one row per (user_id, rank from 1, item_id, score, strategy); "lists": one row per user with
    user_id, item_ids, scores and strategy. ``titles`` adds a column title after item_id, or titles after item_ids.
    """

    k: int = 20
    exclude_seen: bool = True
    layout: Layout = "long"
    diversity: float = 0.0
    titles: bool = False
    filter: ItemFilter | None = None
    """Which items the lists may hold."""
    caps: Caps = ()
    """At most so many items of a list share a value of an attribute."""


class Scorer:
    """Turns user ids into rows of the output; rows become ids by a vectorised gather.

    ``opted_out``: ids that get the popular list, whatever is known of them. ``changes``: of items, since the bundle.
    """

    def __init__(
        self,
        recommender: Recommender,
        options: ScoreOptions,
        *,
        opted_out: pl.Series | None = None,
        changes: ItemChanges | None = None,
    ) -> None:
        self._recommender = recommender
        self._options, self._changes = options, changes
        self._opted_out = None if opted_out is None else opted_out.implode()
        self._item_ids = decode_ids(recommender.bundle.target_items.ids.array)
        check_options(recommender.bundle, options, changes=changes)
        self._titles = _titles(recommender.bundle) if options.titles else None
        self._strategies = pl.Series("strategy", ROW_STRATEGIES, dtype=pl.Enum(ROW_STRATEGIES))

    def __call__(self, users: pl.Series) -> pl.DataFrame:
        """The rows of ``users``, in their order."""
        options = self._options
        asked = users
        if self._opted_out is not None:
            # Nobody's id is empty: nothing stored of these users is looked at.
            asked = users.to_frame().select(pl.when(~pl.first().is_in(self._opted_out)).then(pl.first())).to_series()
        top = self._recommender.top_rows(
            asked.fill_null("").to_list(),
            options.k,
            exclude_seen=options.exclude_seen,
            diversity=options.diversity,
            filter=options.filter,
            caps=options.caps,
            changes=self._changes,
        )
        strategies = self._strategies.gather(top.strategies)
        frame = self._long(users, strategies, top)
        if options.layout == "long":
            return frame
        columns = [name for name in ("item_id", "title", "score") if name in frame.columns]
        lists = frame.group_by(USER_COLUMN, maintain_order=True).agg(pl.col(name).alias(f"{name}s") for name in columns)
        whole = pl.DataFrame({USER_COLUMN: users, "strategy": strategies})
        return whole.join(lists, on=USER_COLUMN, how="left", maintain_order="left").select(
            USER_COLUMN, pl.col(f"{name}s" for name in columns).fill_null([]), "strategy"
        )

    def _long(self, users: pl.Series, strategies: pl.Series, top: TopRows) -> pl.DataFrame:
        owners, places = np.nonzero(top.items >= 0)
        items = top.items[owners, places]
        return pl.DataFrame(
            {
                USER_COLUMN: users.gather(owners),
                "rank": pl.Series((places + 1).astype(np.uint32)),
                "item_id": self._item_ids.gather(items),
                **({} if self._titles is None else {"title": self._titles.gather(items)}),
                "score": top.scores[owners, places],
                "strategy": strategies.gather(owners),
            }
        )


def check_options(bundle: Bundle, options: ScoreOptions, *, changes: ItemChanges | None) -> None:
    """Raise InputError if ``bundle`` lacks the wanted titles or attributes, or ``changes`` a list."""
    if options.filter is not None:
        named_list(options.filter, changes)
        check_filter(options.filter, bundle.target_items.attributes.columns)
    check_caps(options.caps, bundle.target_items.attributes.columns)
    if options.titles and bundle.target_items.titles is None:
        raise InputError(
            "the bundle has no titles of target items; train it with --target-titles, or leave out --titles"
        )


def _titles(bundle: Bundle) -> pl.Series | None:
    """The title of each target item, null if it has none; None for a bundle without titles."""
    if bundle.target_items.titles is None:
        return None
    titles = bundle.target_items.titles.take(np.arange(len(bundle.target_items.ids)))
    return pl.Series("title", titles, dtype=pl.String)


def decode_ids(ids: np.ndarray[tuple[int, ...], np.dtype[np.bytes_]]) -> pl.Series:
    """Ids of an :class:`~diffcdr.bundle.ids.IdTable`'s array, as text."""
    return pl.Series(USER_COLUMN, ids.tolist(), dtype=pl.Binary).cast(pl.String)


def ranked_table(recommender: Recommender, user_ids: Sequence[str], options: ScoreOptions) -> pl.DataFrame:
    """The lists of ``user_ids`` in their order, as :class:`Scorer` makes them, ``BATCH_USERS`` at a time.

    Raises:
        InputError: ``k`` is below 1, or ``diversity`` is not between 0 and 1.
    """
    scorer, users = Scorer(recommender, options), pl.Series(USER_COLUMN, user_ids, dtype=pl.String)
    blocks = [scorer(users.slice(start, BATCH_USERS)) for start in range(0, max(1, len(users)), BATCH_USERS)]
    return pl.concat(blocks)
