"""``diffcdr prepare``: two rating files in, tables out that ``base`` and ``train`` go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.commands.engines import Engine, EngineOption, MasterOption, SparkConfOption, load_engine
from diffcdr.progress import Reporter
from diffcdr.user_files import read_users
from training.commands.options import (
    RatingRange,
    Settings,
    Source,
    SourceColumns,
    Target,
    TargetColumns,
    parse_rating_range,
)
from training.commands.sources import domain_file, show_data
from training.config import load_preset
from training.data.domains import load_domain
from training.data.tables import Division, DomainMaker, domain_maker, write_tables


def prepare(
    source: Source,
    target: Target,
    out: Annotated[Path, typer.Option(help="Directory to write; tables already there are replaced whole.")],
    preset: Annotated[str, typer.Option(help="Whose split section divides the shared users.")] = "ranking",
    seed: Annotated[int, typer.Option(min=0, help="Fixes the division.")] = 0,
    settings: Settings = None,
    source_columns: SourceColumns = None,
    target_columns: TargetColumns = None,
    rating_range: RatingRange = "1,5",
    exclude_users: Annotated[Path | None, typer.Option(help="Users to leave out of both domains.")] = None,
    engine: EngineOption = "local",
    master: MasterOption = None,
    spark_conf: SparkConfOption = None,
) -> None:
    """Read, clean and pair two rating files, divide the users they share, and write all of it as tables."""
    division = Division(seed=seed, **load_preset(preset, settings or []).split.model_dump())
    files = (
        domain_file(source, source_columns, option="--source-columns"),
        domain_file(target, target_columns, option="--target-columns"),
    )
    limits = parse_rating_range(rating_range)
    excluded = None if exclude_users is None else read_users(exclude_users)[0]
    reporter = Reporter()
    with _makers(engine, master, spark_conf or []) as maker, reporter.task("prepare", total=2, unit="files") as task:
        first, second = (
            maker(file.path, columns=file.columns, rating_range=limits, excluded_users=excluded) for file in files
        )
        tables = write_tables(out, source=first, target=second, division=division, rating_range=limits)
        task.advance(2)
    show_data(reporter, tables.pair)
    parts = ", ".join(f"{count:,} for {part}" for part, count in tables.split.counts().items())
    reporter.note(f"divided by seed {seed}: {parts}")
    reporter.note(f"wrote {out}; next: diffcdr train --tables {out} --bundle DIR")


@contextmanager
def _makers(engine: Engine, master: str | None, spark_conf: list[str]) -> Iterator[Callable[..., DomainMaker]]:
    if engine == "spark":
        with load_engine("spark", "prepare")(master, spark_conf) as maker:
            yield maker
    else:
        yield lambda path, **options: domain_maker(partial(load_domain, path, **options))
