"""The options that every command on two rating files takes, and what becomes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from training.commands.screen import cleaning_table
from training.data.columns import Columns
from training.data.domains import DomainPair
from training.run.prepare import DomainFile, load_pair

Source = Annotated[Path, typer.Option(help="Ratings of the domain users are known in: a file or a Parquet folder.")]
Target = Annotated[Path, typer.Option(help="Ratings of the domain to recommend in.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as diffcdr.nfe=10.")
]
SourceColumns = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Column names, such as user=uid,item=film,rating=stars.")
]
TargetColumns = Annotated[str | None, typer.Option(metavar="NAMES", help="As --source-columns.")]
PaperGrids = Annotated[
    bool, typer.Option("--grid", help="Try the paper's values of lambda and s; the best on validation users is kept.")
]
OwnGrids = Annotated[
    list[str] | None,
    typer.Option("--grid-values", metavar="KEY=V1,V2", help="Values to try, such as diffcdr.task_weight=0.01,0.1."),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Keep figures as TensorBoard event files; of an experiment's cells as they are done."
    ),
]
MLflow = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="Keep figures in this MLflow store or server; of an experiment's cells as they are done."
    ),
]
RatingRange = Annotated[str, typer.Option(metavar="LOW,HIGH", help="Ratings outside are left out.")]


def parse_rating_range(text: str) -> tuple[float, float]:
    """``LOW,HIGH`` -> the two numbers. Raises InputError where they are not two finite ascending numbers."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--rating-range {text!r} is not understood; write the lowest and highest rating, such as 1,5")
    return low, high


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
