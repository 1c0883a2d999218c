"""Cleaned ratings -> a domain of integer rows, and two domains -> the users they share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from diffcdr.arrays import Int64Array
from diffcdr.bundle.attributes import NO_ATTRIBUTES, ItemAttributes
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import InputFile, ItemsFile
from diffcdr.errors import InputError
from diffcdr.files.reading import Reading
from diffcdr.files.users import closest
from training.data.cleaning import clean, ids_of
from training.data.doubts import Rules
from training.data.events import EventFile
from training.data.findings import CleaningReport
from training.data.item_file import ItemFile, read_items
from training.data.readers import read_ratings
from training.data.titles import TitleFile, item_titles

MIN_OVERLAP = 10
"""Fewer shared users than this cannot be split into training, validation and test users that mean anything."""

NO_ROWS: Int64Array = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Domain:
    """One domain's ratings as parallel columns, ordered by (user, item); every user and item has at least one.

    But for likes alone (:meth:`likes_from`): then ``disliked`` has the others.

    ``user_rows``, ``item_rows``: int64 [R], rows of ``users`` and ``items``; ``ratings``: float32 [R];
    ``timestamps``: int64 [R], or None where the file has none for some rating; ``titles``: one per item, empty where
    unknown.
    """

    users: IdTable
    items: IdTable
    user_rows: Int64Array
    item_rows: Int64Array
    ratings: npt.NDArray[np.float32]
    timestamps: Int64Array | None
    titles: list[str] | None
    file: InputFile
    report: CleaningReport
    warnings: tuple[str, ...] = ()
    attributes: ItemAttributes = NO_ATTRIBUTES
    items_file: ItemsFile | None = None
    """What the titles and attributes are from."""
    disliked: tuple[Int64Array, Int64Array] = (NO_ROWS, NO_ROWS)
    """User and item rows of ratings that are no likes, ordered alike."""

    def likes_from(self, least: float) -> Domain:
        """The same users and items, with the ratings from ``least`` on. Raises InputError where there is none."""
        liked = self.ratings >= least
        if not liked.any():
            raise InputError(
                f"no rating of {self.file.name} is {least:g} or more; give a lower --positive-threshold than the "
                f"highest rating, {self.ratings.max():g}"
            )
        return replace(
            self,
            user_rows=self.user_rows[liked],
            item_rows=self.item_rows[liked],
            ratings=self.ratings[liked],
            timestamps=None if self.timestamps is None else self.timestamps[liked],
            disliked=(self.user_rows[~liked], self.item_rows[~liked]),
        )

    def with_items(self, file: ItemFile | None) -> Domain:
        """The domain, with what ``file`` says of its items; raises as :func:`training.data.item_file.read_items`."""
        if file is None:
            return self
        known = read_items(file, self.items)
        titles = self.titles if known.titles is None else known.titles
        warnings = (*self.warnings, *known.warnings)
        return replace(self, titles=titles, attributes=known.attributes, warnings=warnings, items_file=known.file)


@dataclass(frozen=True)
class DomainPair:
    """Two domains and the users seen in both, ordered by id.

    ``overlap_source``, ``overlap_target``: int64 [O], rows of the same users in either domain, both ascending.
    """

    source: Domain
    target: Domain
    overlap_source: Int64Array
    overlap_target: Int64Array

    @property
    def source_only_users(self) -> int:
        """Users of the source domain that the target domain does not know."""
        return len(self.source.users) - len(self.overlap_source)

    @property
    def target_only_users(self) -> int:
        """Users of the target domain that the source domain does not know."""
        return len(self.target.users) - len(self.overlap_target)

    def likes_from(self, source: float, target: float) -> DomainPair:
        """The same users and items, with the ratings from ``source`` and ``target`` on. Raises InputError for none."""
        return replace(self, source=self.source.likes_from(source), target=self.target.likes_from(target))

    def overlap_ids(self) -> list[str]:
        """Ids of the shared users, in order."""
        return self.source.users.take(self.overlap_source)

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{len(self.overlap_source):,} users in both domains; {self.source_only_users:,} only in "
            f"{self.source.file.name}, {self.target_only_users:,} only in {self.target.file.name}"
        )


def load_domain(  # noqa: PLR0913 - all that can be said of one input
    path: Path,
    *,
    rating_range: tuple[float, float] = (1.0, 5.0),
    titles: TitleFile | None = None,
    min_ratings: int = 0,
    excluded_users: pl.Series | None = None,
    excluded_found: set[str] | None = None,
    reading: Reading | None = None,
    rules: Rules | None = None,
    events: EventFile | None = None,
) -> Domain:
    """Read, clean and encode the ratings at ``path``.

    Args:
        path: a rating file, or a folder of its parts.
        rating_range: (lowest, highest) rating; others are left out and counted.
        titles: a file with ``item_id`` and ``title``.
        min_ratings: keep only users and items with as many ratings, over and over until all have (the k-core);
            0 keeps all.
        excluded_users: ids whose ratings are left out before anything else, and counted.
        excluded_found: takes those of ``excluded_users`` that occur.
        reading: how the file is to be read.
        rules: what is refused, and how messages name the options.
        events: ratings that users sent since, of which those of the domain that ``rules`` names are added.

    Raises:
        InputError: as :func:`training.data.readers.read_ratings` and :func:`training.data.cleaning.clean`, or the
            k-core is empty.
    """
    raw = read_ratings(path, reading=reading)
    rules = rules or Rules()
    if events is not None:
        raw = events.join(raw, rules.side, rating_range=rating_range)
    sha256 = raw.sha256
    cleaned = clean(raw, rating_range=rating_range, excluded_users=excluded_users, rules=rules)
    if excluded_found is not None:
        excluded_found.update(cleaned.findings.excluded)
    del raw  # the largest thing in memory; not needed to encode
    frame, dropped = cleaned.frame, dict(cleaned.report.dropped)
    if min_ratings > 1:
        keep = _core(frame, min_ratings)
        if not keep.any():
            raise InputError(
                f"{path}: no user and item have {min_ratings} ratings each once the others are left out; "
                "choose a smaller minimum"
            )
        if below := int((~keep).sum()):
            dropped["below_min_ratings"] = below
        frame = frame.filter(pl.Series(keep))
    users, user_rows = _rows(frame["user_id"])
    items, item_rows = _rows(frame["item_id"])
    times = frame["timestamp"]
    named = None if titles is None else item_titles(titles, items)
    return Domain(
        users=users,
        items=items,
        user_rows=user_rows,
        item_rows=item_rows,
        ratings=frame["rating"].cast(pl.Float32).to_numpy(),
        timestamps=None if times.null_count() else times.to_numpy(),
        titles=None if named is None else named.titles,
        file=InputFile(
            name=cleaned.report.name,
            sha256=sha256,
            rows_read=cleaned.report.rows_read,
            rows_kept=frame.height,
            cleaning=dropped,
            noted=cleaned.report.noted,
            how=cleaned.report.how,
            rating_range=rating_range,
            found_range=cleaned.findings.range,
        ),
        report=cleaned.report,
        warnings=(*cleaned.warnings, *(() if named is None else named.warnings)),
        items_file=None if named is None else named.file,
    )


def pair_domains(source: Domain, target: Domain) -> DomainPair:
    """Find the users seen in both domains.

    Raises:
        InputError: there are fewer than ``MIN_OVERLAP``; with none at all, two ids of each side show why.
    """
    _, in_source, in_target = np.intersect1d(
        source.users.array, target.users.array, assume_unique=True, return_indices=True
    )
    if not len(in_source):
        shown = "; ".join(
            f"{domain.file.name} has users such as "
            + ", ".join(repr(domain.users[row][:40]) for row in range(min(2, len(domain.users))))
            for domain in (source, target)
        )
        raise InputError(
            f"no user occurs in both files ({shown}); the same person must have the same user id in both: "
            f"{_would_match(source, target, len(in_source)) or 'check the files and which column holds the user'}"
        )
    if len(in_source) < MIN_OVERLAP:
        raise InputError(
            f"only {len(in_source)} user(s) occur in both {source.file.name} and {target.file.name}, and at least "
            f"{MIN_OVERLAP} are needed to learn and to judge a transfer; give files with more shared users"
        )
    return DomainPair(source, target, in_source.astype(np.int64), in_target.astype(np.int64))


def _would_match(source: Domain, target: Domain, shared: int) -> str | None:
    """Why users of one domain are not in the other, where a simple difference explains some."""
    if min(len(source.users), len(target.users)) - shared < 1:
        return None
    fewer, more = sorted((source, target), key=lambda domain: len(domain.users))
    return closest(_all_ids(fewer.users), _all_ids(more.users))


def near_misses(pair: DomainPair) -> str | None:
    """As ``1,204 ids would match if …``: users whom both domains seem to hold under different ids."""
    return _would_match(pair.source, pair.target, len(pair.overlap_source))


def _all_ids(table: IdTable) -> list[str]:
    return [text.decode() for text in table.array.tolist()]


def _core(frame: pl.DataFrame, minimum: int) -> npt.NDArray[np.bool_]:
    users, items = (frame[name].to_physical().to_numpy() for name in ("user_id", "item_id"))
    keep = np.ones(frame.height, dtype=bool)
    while True:
        enough_user = np.bincount(users[keep], minlength=int(users.max()) + 1) >= minimum
        enough_item = np.bincount(items[keep], minlength=int(items.max()) + 1) >= minimum
        smaller = keep & enough_user[users] & enough_item[items]
        if smaller.sum() == keep.sum():
            return keep
        keep = smaller


def _rows(column: pl.Series) -> tuple[IdTable, Int64Array]:
    """The ids that occur in an Enum column, and every entry's row among them."""
    codes = column.to_physical().to_numpy()
    ids = ids_of(column)
    present = np.zeros(len(ids), dtype=bool)
    present[codes] = True
    row_of_code = np.cumsum(present) - 1
    return IdTable.build(ids.filter(pl.Series(present))), row_of_code[codes].astype(np.int64)
