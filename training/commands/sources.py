"""Reads the rating files of a command and shows what was found in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from diffcdr.progress import Reporter
from training.base_models.config import ALSConfig
from training.commands.screen import cleaning_table, items_notes, reading_notes
from training.config import TrainConfig
from training.data.domains import DomainPair, near_misses
from training.run.inputs import Files, Loaded, PreparedTables
from training.run.run import Run

GivenSource = Annotated[
    Path | None, typer.Option(help="Ratings of the domain users are known in: a file or a folder of its parts.")
]
GivenTarget = Annotated[Path | None, typer.Option(help="Ratings of the domain to recommend in.")]
GivenTables = Annotated[Path | None, typer.Option(help="What diffcdr prepare wrote, instead of --source and --target.")]


def load(reporter: Reporter, start: Files | PreparedTables, run: Run) -> Loaded:
    """Read the inputs of a command and show what was found; raises as ``start.load``."""
    with reporter.task(start.doing, total=2, unit="files") as task:
        loaded = start.load(run)
        task.advance(2)
    say(reporter, loaded.notes, loaded.warnings)
    show_data(reporter, loaded.pair)
    for note in likes_note(loaded.pair, run.config):
        reporter.note(note)
    return loaded


def say(reporter: Reporter, notes: Sequence[str], warnings: Sequence[str]) -> None:
    """Show notes, then warnings."""
    for note in notes:
        reporter.note(note)
    for warning in warnings:
        reporter.warn(warning)


def likes_note(pair: DomainPair, config: TrainConfig) -> list[str]:
    """How many ratings of each domain are likes, where a threshold says; nothing where every rating is one."""
    likes = config.base.likes() if isinstance(config.base, ALSConfig) else None
    if likes is None:
        return []
    parts = [
        f"{np.count_nonzero(domain.ratings >= least):,} of {len(domain.ratings):,} ratings of {domain.file.name}, "
        f"those from {least:g} on"
        for domain, least in zip((pair.source, pair.target), likes, strict=True)
    ]
    return [f"likes are {' and '.join(parts)}; other ratings are used neither for training nor for evaluation"]


def show_data(reporter: Reporter, pair: DomainPair) -> None:
    """What was recognised and read, what cleaning left out, and how many users the domains share."""
    files = [pair.source.file, pair.target.file]
    for line in (*reading_notes(files), *items_notes(pair)):
        reporter.note(line)
    reporter.table("Data", *cleaning_table(files))
    reporter.note(pair.summary())
    if (hint := near_misses(pair)) is not None:
        reporter.note(f"of the users of one file alone, {hint}")
    for domain in (pair.source, pair.target):
        for warning in domain.warnings:
            reporter.warn(warning)
