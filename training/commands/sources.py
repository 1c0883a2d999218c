"""What training starts from: two rating files, or tables that were prepared from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from diffcdr.user_files import read_users
from training.commands.screen import cleaning_table
from training.data.columns import Columns
from training.data.domains import DomainPair
from training.data.tables import Division, open_tables
from training.run.base_store import StoredBases
from training.run.prepare import DomainFile, load_pair
from training.run.run import Run

GivenSource = Annotated[
    Path | None, typer.Option(help="Ratings of the domain users are known in: a file or a folder of its parts.")
]
GivenTarget = Annotated[Path | None, typer.Option(help="Ratings of the domain to recommend in.")]
GivenTables = Annotated[Path | None, typer.Option(help="What diffcdr prepare wrote, instead of --source and --target.")]


@dataclass(frozen=True)
class Files:
    """Two rating files, and what is left out of them."""

    source: DomainFile
    target: DomainFile
    exclude_users: Path | None

    def load(self, run: Run, reporter: Reporter) -> tuple[DomainPair, Run]:
        """Read, clean and pair them; raises InputError where that cannot be done."""
        excluded = None if self.exclude_users is None else read_users(self.exclude_users)[0]
        if excluded is not None:
            reporter.note(f"{self.exclude_users} names {len(excluded):,} users to leave out")
        pair = read_pair(reporter, self.source, self.target, rating_range=run.rating_range, excluded_users=excluded)
        return pair, run


@dataclass(frozen=True)
class PreparedTables:
    """Tables, and files of titles."""

    path: Path
    source_titles: Path | None
    target_titles: Path | None

    def load(self, run: Run, reporter: Reporter) -> tuple[DomainPair, Run]:
        """Open them, and the base models beside them where there are any.

        Raises:
            InputError: the tables cannot be read, or were divided otherwise than ``run`` says; base models are there,
                but others.
        """
        tables = open_tables(self.path, source_titles=self.source_titles, target_titles=self.target_titles)
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
        return tables.pair, replace(run, rating_range=tables.facts.rating_range, bases=bases)


def choose_start(
    source: tuple[Path | None, str | None, Path | None],
    target: tuple[Path | None, str | None, Path | None],
    *,
    tables: Path | None,
    exclude_users: Path | None,
) -> Files | PreparedTables:
    """What the options of a command ask to start from; ``source`` and ``target``: path, column names, titles.

    Raises:
        InputError: there are two kinds of input, or none; or an option is not understood.
    """
    if tables is not None:
        if any(option is not None for option in (*source[:2], *target[:2], exclude_users)):
            raise InputError(
                "--tables stands for --source and --target, their columns and --exclude-users; give those to "
                "diffcdr prepare"
            )
        return PreparedTables(tables, source[2], target[2])
    if source[0] is None or target[0] is None:
        raise InputError("give two rating files as --source and --target, or --tables with what diffcdr prepare wrote")
    return Files(
        domain_file(source[0], source[1], option="--source-columns", titles=source[2]),
        domain_file(target[0], target[1], option="--target-columns", titles=target[2]),
        exclude_users,
    )


def domain_file(path: Path, columns: str | None, *, option: str, titles: Path | None = None) -> DomainFile:
    """A domain's input. Raises InputError where ``columns``, given by ``option``, is not understood."""
    return DomainFile(path, None if columns is None else Columns.parse(columns, option=option), titles)


def read_pair(
    reporter: Reporter,
    source: DomainFile,
    target: DomainFile,
    *,
    rating_range: tuple[float, float],
    excluded_users: pl.Series | None = None,
) -> DomainPair:
    """Read, clean and pair both domains; raises as :func:`training.run.prepare.load_pair`."""
    with reporter.task("read and clean", total=2, unit="files") as task:
        pair = load_pair(source, target, rating_range=rating_range, excluded_users=excluded_users)
        task.advance(2)
    return pair


def show_data(reporter: Reporter, pair: DomainPair) -> None:
    """What was read, what cleaning left out, and how many users the domains share."""
    reporter.table("Data", *cleaning_table([pair.source.file, pair.target.file]))
    reporter.note(pair.summary())
