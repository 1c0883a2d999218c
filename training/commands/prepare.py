"""``diffcdr prepare``: turns two rating files into tables for ``diffcdr base`` and ``diffcdr train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.commands.engines import Engine, EngineOption, MasterOption, SparkConfOption, load_engine
from diffcdr.files.users import read_users
from diffcdr.progress import Reporter
from training.commands.options import (
    Accept,
    Encoding,
    RatingRange,
    Settings,
    Source,
    SourceColumns,
    SourceRange,
    SourceSeparator,
    Target,
    TargetColumns,
    TargetRange,
    TargetSeparator,
)
from training.commands.sources import say, show_data
from training.config import load_preset
from training.data.domains import DomainPair, load_domain
from training.data.tables import Division, DomainMaker, domain_maker, write_tables
from training.run.data_checks import check_prepared
from training.run.inputs import CommonOptions, DomainOptions, say_excluded


def prepare(
    source: Source,
    target: Target,
    out: Annotated[Path, typer.Option(help="Directory to write; tables already there are replaced whole.")],
    preset: Annotated[
        str, typer.Option(help="The preset whose section `split` says how shared users are split.")
    ] = "ranking",
    seed: Annotated[int, typer.Option(min=0, help="Fixes the split.")] = 0,
    settings: Settings = None,
    source_columns: SourceColumns = None,
    target_columns: TargetColumns = None,
    source_separator: SourceSeparator = None,
    target_separator: TargetSeparator = None,
    encoding: Encoding = None,
    rating_range: RatingRange = None,
    source_range: SourceRange = None,
    target_range: TargetRange = None,
    accept: Accept = None,
    exclude_users: Annotated[Path | None, typer.Option(help="Users to leave out of both domains.")] = None,
    engine: EngineOption = "local",
    master: MasterOption = None,
    spark_conf: SparkConfOption = None,
) -> None:
    """Read, clean and pair two rating files, split their shared users, and write tables."""
    division = Division(seed=seed, **load_preset(preset, settings or []).split.by_user())
    common = CommonOptions(rating_range, encoding, accept or [])
    files = (
        DomainOptions("source", source, source_columns, separator=source_separator, rating_range=source_range).file(
            common
        ),
        DomainOptions("target", target, target_columns, separator=target_separator, rating_range=target_range).file(
            common
        ),
    )
    accepted = files[0].rules.accepted
    excluded = None if exclude_users is None else read_users(exclude_users, encoding=files[0].reading.encoding)[0]
    found: set[str] = set()
    reporter = Reporter()
    warnings: list[str] = []

    def check(pair: DomainPair) -> None:
        if excluded is not None:
            say(reporter, *say_excluded(excluded, found, accepted=accepted))
        warnings.extend(check_prepared(pair, accepted=accepted))

    with _makers(engine, master, spark_conf or []) as maker, reporter.task("prepare", total=2, unit="files") as task:
        first, second = (
            maker(
                file.path,
                reading=file.reading,
                rating_range=file.rating_range,
                rules=file.rules,
                excluded_users=excluded,
                excluded_found=found,
            )
            for file in files
        )
        tables = write_tables(
            out,
            source=first,
            target=second,
            division=division,
            rating_range=files[1].rating_range,
            source_range=files[0].rating_range,
            check=check,
        )
        task.advance(2)
    for warning in warnings:
        reporter.warn(warning)
    show_data(reporter, tables.pair)
    parts = ", ".join(f"{count:,} for {part}" for part, count in tables.split.counts().items())
    reporter.note(f"split by seed {seed}: {parts}")
    reporter.note(f"wrote {out}; next: diffcdr train --tables {out} --bundle DIR")


@contextmanager
def _makers(engine: Engine, master: str | None, spark_conf: list[str]) -> Iterator[Callable[..., DomainMaker]]:
    if engine == "spark":
        with load_engine("spark", "prepare")(master, spark_conf) as maker:
            yield maker
    else:
        yield lambda path, **options: domain_maker(partial(load_domain, path, **options))
