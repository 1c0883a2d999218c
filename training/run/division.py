"""How a run divides its data: by user or by time, as section ``[split]`` says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.config import SplitConfig
from training.data.domains import DomainPair
from training.data.splits import HeldOutTables, Split, hold_out, split_overlap
from training.data.time_split import TimeSplit, moment, split_by_time


@dataclass(frozen=True)
class Divided:
    """``pair``: what training may look at, and with a split by user the held-out users' target ratings besides.

    ``by_time``: None for a split by user.
    """

    pair: DomainPair
    split: Split
    by_time: TimeSplit | None = None

    @property
    def cut(self) -> str | None:
        """The last moment of training, ISO 8601 in UTC; None for a split by user."""
        return None if self.by_time is None else moment(self.by_time.cut)

    @property
    def unknown_items(self) -> int:
        """Later ratings of test users that are left out, of items without a rating up to the cut."""
        return 0 if self.by_time is None else self.by_time.unknown_items

    def likes_from(self, source: float, target: float) -> Divided:
        """The same users and items, with the ratings from ``source`` and ``target`` on. Raises InputError for none."""
        pair = self.pair.likes_from(source, target)
        if self.by_time is None:
            return replace(self, pair=pair)
        later = self.by_time.later
        return replace(self, pair=pair, by_time=replace(self.by_time, later=later.take(later.ratings >= target)))

    def held_out(self) -> HeldOutTables:
        """The target ratings by part."""
        held = hold_out(self.pair, self.split)
        return held if self.by_time is None else replace(held, test=self.by_time.later)


def divide(pair: DomainPair, split: SplitConfig, *, seed: int) -> Divided:
    """Divide ``pair``. Raises InputError as :func:`split_overlap` and :func:`split_by_time`."""
    if split.by == "time":
        found = split_by_time(pair, **split.shares(), seed=seed)
        return Divided(found.pair, found.split, found)
    return Divided(pair, split_overlap(pair.overlap_ids(), **split.shares(), seed=seed))
