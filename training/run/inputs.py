"""The inputs of training: two rating files, or tables prepared from them, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from diffcdr.errors import InputError
from diffcdr.event_weights import EventWeights
from diffcdr.files.columns import Columns
from diffcdr.files.dialect import parse_separator
from diffcdr.files.encodings import known_encoding
from diffcdr.files.reading import Reading
from diffcdr.files.users import read_users
from training.data.domains import DomainPair
from training.data.doubts import Rules, doubt, parse_accepted
from training.data.events import read_events
from training.data.findings import EXCLUDED
from training.data.item_file import ItemFile
from training.data.tables import Division, open_tables
from training.data.titles import TitleFile
from training.run.base_store import StoredBases
from training.run.prepare import DomainFile, load_pair
from training.run.run import Run

DEFAULT_RANGE = (1.0, 5.0)


@dataclass(frozen=True)
class DomainOptions:
    """A command's options for one domain; ``side``: source or target, as in the option names."""

    side: str
    path: Path | None
    columns: str | None = None
    titles: Path | None = None
    separator: str | None = None
    rating_range: str | None = None
    title_columns: str | None = None
    items: Path | None = None

    def file(self, common: CommonOptions) -> DomainFile:
        """The domain's input. Raises InputError where there is none, or an option is not understood."""
        columns_option, titles_option = f"--{self.side}-columns", f"--{self.side}-title-columns"
        codec = None if common.encoding is None else known_encoding(common.encoding, option="--encoding")
        both = self.rating_range is None
        range_text = common.rating_range if both else self.rating_range
        rules = Rules(self.side, range_given=range_text is not None, accepted=parse_accepted(common.accept))
        separator, titles, items = None, None, None
        if self.titles is not None and self.items is not None:
            raise InputError(f"--{self.side}-items has the titles in it; leave out --{self.side}-titles")
        if self.separator is not None:
            separator = parse_separator(self.separator, option=f"--{self.side}-separator")
        if self.title_columns is not None:
            named = Columns.parse(self.title_columns, option=titles_option, roles=("item", "title"))
        else:
            named = Columns()
        named_so = Reading(columns=named, encoding=codec, option=titles_option)
        if self.titles is not None:
            titles = TitleFile(self.titles, named_so, rules.accepted)
        if self.items is not None:
            items = ItemFile(self.items, named_so, rules.accepted)
        columns = Columns() if self.columns is None else Columns.parse(self.columns, option=columns_option)
        return DomainFile(
            self.path or Path(),
            reading=Reading(columns=columns, encoding=codec, separator=separator, option=columns_option),
            titles=titles,
            items=items,
            rating_range=parse_rating_range(range_text, option="--rating-range" if both else f"--{self.side}-range"),
            rules=rules,
        )

    def of_ratings(self) -> bool:
        """Whether an option is given that prepared tables have already decided."""
        return any(each is not None for each in (self.path, self.columns, self.separator, self.rating_range))


@dataclass(frozen=True)
class CommonOptions:
    """A command's options for both domains."""

    rating_range: str | None = None
    encoding: str | None = None
    accept: Sequence[str] = ()


@dataclass(frozen=True)
class Loaded:
    """The data of a run, the run with what the data determine (ranges, base models), and notes on them."""

    pair: DomainPair
    run: Run
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """Two rating files, and the users to leave out: a file that lists them, or their ids."""

    source: DomainFile
    target: DomainFile
    exclude_users: Path | pl.Series | None = None
    events: Path | None = None
    """What users sent since, added to both."""
    event_weights: EventWeights | None = None

    doing = "read and clean"

    def load(self, run: Run) -> Loaded:
        """Read, clean and pair them; raises InputError where that cannot be done."""
        excluded, found = self.exclude_users, set[str]()
        if isinstance(excluded, Path):
            excluded = read_users(excluded, encoding=self.source.reading.encoding)[0]
        events = None if self.events is None else read_events(self.events, weights=self.event_weights)
        pair = load_pair(self.source, self.target, excluded_users=excluded, excluded_found=found, events=events)
        source, target = self.source.rating_range, self.target.rating_range
        run = replace(run, rating_range=target, source_range=None if source == target else source)
        if excluded is None:
            return Loaded(pair, run)
        return Loaded(pair, run, *say_excluded(excluded, found, accepted=self.source.rules.accepted))


@dataclass(frozen=True)
class PreparedTables:
    """Tables, and files of titles."""

    path: Path
    source: DomainFile
    target: DomainFile

    doing = "open tables"

    def load(self, run: Run) -> Loaded:
        """Open them, and the base models beside them where there are any.

        Raises:
            InputError: the tables cannot be read, or were divided otherwise than ``run`` says; base models are there,
                but others.
        """
        tables = open_tables(self.path, source_titles=self.source.titles, target_titles=self.target.titles)
        wanted, found = Division(seed=run.seed, **run.config.split.by_user()), tables.facts.division
        if wanted != found:
            name = next(name for name in Division.model_fields if getattr(wanted, name) != getattr(found, name))
            raise InputError(
                f"{self.path} was split with {name} {getattr(found, name):g}, and this run asks for "
                f"{getattr(wanted, name):g}; run diffcdr prepare again with the preset and settings of this run"
            )
        pair = replace(tables.pair, target=tables.pair.target.with_items(self.target.items))
        ranges = replace(run, rating_range=tables.facts.rating_range, source_range=tables.facts.source_range)
        if not StoredBases.there(tables):
            return Loaded(pair, ranges)
        note = f"base models are those in {self.path}"
        return Loaded(pair, replace(ranges, bases=StoredBases(tables, run.config)), (note,))


def choose_start(
    source: DomainOptions,
    target: DomainOptions,
    *,
    tables: Path | None,
    exclude_users: Path | pl.Series | None,
    common: CommonOptions | None = None,
    events: Path | None = None,
    event_weights: str | None = None,
) -> Files | PreparedTables:
    """The inputs that a command's options ask for.

    Raises:
        InputError: there are two kinds of input, or none; or an option is not understood.
    """
    common = common or CommonOptions()
    files = source.file(common), target.file(common)
    weights = None if event_weights is None else EventWeights.parse(event_weights, name="--event-weights")
    if weights is not None and events is None:
        raise InputError("--event-weights says what those of --events count as; give --events too")
    if tables is not None:
        if events is not None:
            raise InputError("--events is added to --source and --target; leave out --tables")
        if source.of_ratings() or target.of_ratings() or exclude_users is not None:
            raise InputError(
                "--tables replaces --source and --target, how they are read, their ranges and --exclude-users; give "
                "those to diffcdr prepare"
            )
        return PreparedTables(tables, *files)
    if source.path is None or target.path is None:
        raise InputError("give two rating files as --source and --target, or --tables with what diffcdr prepare wrote")
    return Files(*files, exclude_users, events, weights)


def say_excluded(
    listed: pl.Series, found: Collection[str], *, accepted: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes and warnings: how many of the ``listed`` users to leave out occur.

    Raises:
        Doubt: none does: most probably they are written otherwise, and people would stay in who must not.
    """
    text = f"--exclude-users: {len(listed):,} ids, {len(found):,} found in the ratings and left out ({EXCLUDED})"
    if not len(listed) or found:
        return (text,), ()
    shown = ", ".join(map(repr, listed.head(2).to_list()))
    return (), tuple(doubt("unmatched-users", f"{text}; it lists users such as {shown}", accepted=accepted))


def parse_rating_range(text: str | None, *, option: str = "--rating-range") -> tuple[float, float]:
    """``LOW,HIGH`` -> the two numbers, the default for None.

    Raises:
        InputError: they are not two finite ascending numbers; the message names the ``option``.
    """
    if text is None:
        return DEFAULT_RANGE
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{option} {text!r} is not understood; write the lowest and highest rating, such as 1,5")
    return low, high
