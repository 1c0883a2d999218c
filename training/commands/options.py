"""The options that every command on two rating files takes, and what becomes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.errors import InputError

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
