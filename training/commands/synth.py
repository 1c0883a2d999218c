"""``diffcdr synth``: writes two synthetic domains to try everything with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write


def synth(
    out: Annotated[Path, typer.Option("--out", help="Folder to write films, books and their item files to.")],
    *,
    users: Annotated[int, typer.Option(help="Users of both domains together.")] = 5_000,
    items: Annotated[int, typer.Option(help="Items of each domain.")] = 2_000,
    ratings_per_user: Annotated[int, typer.Option(help="Mean number of ratings per user and domain.")] = 40,
    overlap: Annotated[float, typer.Option(help="Share of users seen in both domains.")] = 0.6,
    file_format: Annotated[Format, typer.Option("--format", help="parquet, csv, or JSON lines in Amazon's format.")] = (
        Format.parquet
    ),
    seed: Annotated[int, typer.Option(help="The same seed writes the same data.")] = 0,
) -> None:
    """Write synthetic film and book ratings with readable ids and titles.

    About a fifth of the users rate films only; they are the cold-start users of the book domain.
    """
    spec = SynthSpec(users=users, items=items, ratings_per_user=ratings_per_user, overlap=overlap, seed=seed)
    data = generate(spec)
    written = write(data, out, file_format=file_format)
    table = Table("file", "rows", "users", "items", title=f"synthetic domains in {out}", title_justify="left")
    for path, frame in written:
        counts = [f"{frame[name].n_unique():,}" if name in frame.columns else "" for name in ("user_id", "item_id")]
        table.add_row(path.name, f"{frame.height:,}", *counts)
    Console().print(table)
