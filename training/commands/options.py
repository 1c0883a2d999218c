"""The options that every command on two rating files takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.data.doubts import DOUBTS

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
        metavar="DIR", help="Write figures as TensorBoard event files; an experiment writes each cell when it is done."
    ),
]
MLflow = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Write figures to this MLflow store or server; an experiment writes each cell when it is done.",
    ),
]
RatingRange = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Ratings outside are left out.", show_default="1,5"),
]
PositiveThreshold = Annotated[
    str | None,
    typer.Option(
        metavar="RATING",
        help="Lowest rating that is a like, for lists (SOURCE,TARGET where they differ); without it every rating is.",
    ),
]
SourceRange = Annotated[
    str | None, typer.Option(metavar="LOW,HIGH", help="The rating range of the source, if the domains differ.")
]
TargetRange = Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="As --source-range.")]
SplitBy = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="user|time",
        help="Measure on overlap users drawn by seed, or on users who come to the target after a moment.",
        show_default="user",
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Encoding of files that are not UTF-8 and have no byte-order mark, such as latin-1."
    ),
]
SourceSeparator = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What separates fields, such as ';', '::', tab or space.")
]
TargetSeparator = Annotated[str | None, typer.Option(metavar="TEXT", help="As --source-separator.")]
SourceTitleColumns = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Columns of the titles, such as item=asin,title=name.")
]
TargetTitleColumns = Annotated[str | None, typer.Option(metavar="NAMES", help="As --source-title-columns.")]
Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help=f"Accept data that looks like a mistake: {', '.join(DOUBTS)}."),
]
