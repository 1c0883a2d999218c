"""What training starts from: two rating files, or tables that were prepared from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from diffcdr.errors import InputError
from diffcdr.files.columns import Columns
from diffcdr.files.dialect import parse_separator
from diffcdr.files.encodings import known_encoding
from diffcdr.files.reading import Reading
from diffcdr.files.users import read_users
from diffcdr.progress import Reporter
from training.commands.options import parse_rating_range
from training.commands.screen import cleaning_table, reading_notes
from training.data.domains import DomainPair, near_misses
from training.data.events import EventFile, read_events
from training.data.findings import EXCLUDED
from training.data.sense import Rules, doubt, parse_accepted
from training.data.tables import Division, open_tables
from training.data.titles import TitleFile
from training.run.base_store import StoredBases
from training.run.prepare import DomainFile, load_pair
from training.run.run import Run

GivenSource = Annotated[
    Path | None, typer.Option(help="Ratings of the domain users are known in: a file or a folder of its parts.")
]
GivenTarget = Annotated[Path | None, typer.Option(help="Ratings of the domain to recommend in.")]
GivenTables = Annotated[Path | None, typer.Option(help="What diffcdr prepare wrote, instead of --source and --target.")]


@dataclass(frozen=True)
class DomainOptions:
    """What the options of a command say of one domain; ``side``: source or target, as options are named."""

    side: str
    path: Path | None
    columns: str | None = None
    titles: Path | None = None
    separator: str | None = None
    rating_range: str | None = None
    title_columns: str | None = None

    def file(self, common: CommonOptions) -> DomainFile:
        """The domain's input. Raises InputError where there is none, or an option is not understood."""
        return domain_file(
            self.path or Path(),
            self.columns,
            option=f"--{self.side}-columns",
            titles=self.titles,
            separator=self.separator,
            encoding=common.encoding,
            rating_range=self.rating_range,
            both_ranges=common.rating_range,
            title_columns=self.title_columns,
            accept=common.accept,
        )

    def of_ratings(self) -> bool:
        """Whether something is said that tables have settled."""
        return any(each is not None for each in (self.path, self.columns, self.separator, self.rating_range))


@dataclass(frozen=True)
class CommonOptions:
    """What they say of both domains."""

    rating_range: str | None = None
    encoding: str | None = None
    accept: Sequence[str] = ()


@dataclass(frozen=True)
class Files:
    """Two rating files, and what is left out of them."""

    source: DomainFile
    target: DomainFile
    exclude_users: Path | None
    events: Path | None = None

    def load(self, run: Run, reporter: Reporter) -> tuple[DomainPair, Run]:
        """Read, clean and pair them; raises InputError where that cannot be done."""
        encoding = self.source.reading.encoding
        excluded = None if self.exclude_users is None else read_users(self.exclude_users, encoding=encoding)[0]
        events = None if self.events is None else read_events(self.events)
        pair = read_pair(reporter, self.source, self.target, excluded_users=excluded, events=events)
        source, target = self.source.rating_range, self.target.rating_range
        return pair, replace(run, rating_range=target, source_range=None if source == target else source)


@dataclass(frozen=True)
class PreparedTables:
    """Tables, and files of titles."""

    path: Path
    source: DomainFile
    target: DomainFile

    def load(self, run: Run, reporter: Reporter) -> tuple[DomainPair, Run]:
        """Open them, and the base models beside them where there are any.

        Raises:
            InputError: the tables cannot be read, or were divided otherwise than ``run`` says; base models are there,
                but others.
        """
        tables = open_tables(self.path, source_titles=self.source.titles, target_titles=self.target.titles)
        wanted, found = Division(seed=run.seed, **run.config.split.model_dump()), tables.facts.division
        if wanted != found:
            name = next(name for name in Division.model_fields if getattr(wanted, name) != getattr(found, name))
            raise InputError(
                f"{self.path} was divided with {name} {getattr(found, name):g}, and this run asks for "
                f"{getattr(wanted, name):g}; run diffcdr prepare again with the preset and settings of this run"
            )
        bases = None
        if StoredBases.there(tables):
            bases = StoredBases(tables, run.config)
            reporter.note(f"base models are those in {self.path}")
        return tables.pair, replace(
            run, rating_range=tables.facts.rating_range, source_range=tables.facts.source_range, bases=bases
        )


def choose_start(
    source: DomainOptions,
    target: DomainOptions,
    *,
    tables: Path | None,
    exclude_users: Path | None,
    common: CommonOptions | None = None,
    events: Path | None = None,
) -> Files | PreparedTables:
    """What the options of a command ask to start from.

    Raises:
        InputError: there are two kinds of input, or none; or an option is not understood.
    """
    common = common or CommonOptions()
    files = source.file(common), target.file(common)
    if tables is not None:
        if events is not None:
            raise InputError("--events is added to --source and --target; leave out --tables")
        if source.of_ratings() or target.of_ratings() or exclude_users is not None:
            raise InputError(
                "--tables stands for --source and --target, how they are read, their ranges and --exclude-users; give "
                "those to diffcdr prepare"
            )
        return PreparedTables(tables, *files)
    if source.path is None or target.path is None:
        raise InputError("give two rating files as --source and --target, or --tables with what diffcdr prepare wrote")
    return Files(*files, exclude_users, events)


def domain_file(
    path: Path,
    columns: str | None,
    *,
    option: str,
    titles: Path | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    rating_range: str | None = None,
    both_ranges: str | None = None,
    title_columns: str | None = None,
    accept: Sequence[str] = (),
) -> DomainFile:
    """A domain's input. ``option``: ``--source-columns`` or ``--target-columns``; ``both_ranges``: of both domains.

    Raises:
        InputError: something is not understood.
    """
    side = option.removeprefix("--").removesuffix("-columns")
    codec = None if encoding is None else known_encoding(encoding, option="--encoding")
    range_text = rating_range if rating_range is not None else both_ranges
    rules = Rules(side, range_given=range_text is not None, accepted=parse_accepted(accept))
    named = Columns()
    if title_columns is not None:
        named = Columns.parse(title_columns, option=f"--{side}-title-columns", roles=("item", "title"))
    title_reading = Reading(columns=named, encoding=codec, option=f"--{side}-title-columns")
    return DomainFile(
        path,
        reading=Reading(
            columns=Columns() if columns is None else Columns.parse(columns, option=option),
            encoding=codec,
            separator=None if separator is None else parse_separator(separator, option=f"--{side}-separator"),
            option=option,
        ),
        titles=None if titles is None else TitleFile(titles, title_reading, rules.accepted),
        rating_range=parse_rating_range(
            range_text, option="--rating-range" if rating_range is None else f"--{side}-range"
        ),
        rules=rules,
    )


def read_pair(
    reporter: Reporter,
    source: DomainFile,
    target: DomainFile,
    *,
    excluded_users: pl.Series | None = None,
    events: EventFile | None = None,
) -> DomainPair:
    """Read, clean and pair both domains; raises as :func:`training.run.prepare.load_pair`."""
    found: set[str] = set()
    with reporter.task("read and clean", total=2, unit="files") as task:
        pair = load_pair(source, target, excluded_users=excluded_users, excluded_found=found, events=events)
        task.advance(2)
    if excluded_users is not None:
        show_excluded(reporter, excluded_users, found, accepted=source.rules.accepted)
    return pair


def show_excluded(reporter: Reporter, listed: pl.Series, found: set[str], *, accepted: Collection[str]) -> None:
    """Say how many of the ``listed`` users to leave out occur.

    Raises:
        InputError: none does: most probably they are written otherwise, and people would stay in who must not.
    """
    text = f"--exclude-users: {len(listed):,} ids, {len(found):,} found in the ratings and left out ({EXCLUDED})"
    if len(listed) and not found:
        shown = ", ".join(map(repr, listed.head(2).to_list()))
        for warning in doubt("unmatched-users", f"{text}; it lists users such as {shown}", accepted=accepted):
            reporter.warn(warning)
    else:
        reporter.note(text)


def show_data(reporter: Reporter, pair: DomainPair) -> None:
    """What was recognised and read, what cleaning left out, and how many users the domains share."""
    files = [pair.source.file, pair.target.file]
    for line in reading_notes(files):
        reporter.note(line)
    reporter.table("Data", *cleaning_table(files))
    reporter.note(pair.summary())
    if (hint := near_misses(pair)) is not None:
        reporter.note(f"of the users of one file alone, {hint}")
    for domain in (pair.source, pair.target):
        for warning in domain.warnings:
            reporter.warn(warning)
