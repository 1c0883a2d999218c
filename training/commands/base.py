"""``diffcdr base``: fits both domains' base models on prepared tables, locally or on Spark, for ``diffcdr train``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from diffcdr.commands.engines import Engine, EngineOption, MasterOption, SparkConfOption, load_engine
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from training.base_models.config import ALSConfig
from training.commands.options import Settings
from training.config import TrainConfig, load_preset
from training.data.splits import ratings_without
from training.data.tables import Tables, open_tables
from training.run.base_store import BaseFit, BaseTask, FitBase, fit_bases, save_base
from training.run.prepare import fit_base
from training.run.run import Run


def base(
    tables: Annotated[Path, typer.Option(help="Directory that diffcdr prepare wrote.")],
    preset: Annotated[str, typer.Option(help="Preset whose section `base` is used.")] = "ranking",
    settings: Settings = None,
    engine: EngineOption = "local",
    master: MasterOption = None,
    spark_conf: SparkConfOption = None,
) -> None:
    """Fit the base models that training on these tables needs, and store them with the tables."""
    config = load_preset(preset, settings or [])
    if isinstance(config.base, ALSConfig) and config.base.likes() is not None:
        raise InputError(
            "base models are fitted to every rating of the tables; leave out base.positive_threshold here, or train "
            "with it on tables that have none"
        )
    opened = open_tables(tables)
    torch.set_num_threads(1)
    reporter = Reporter()
    with (
        _fits(engine, opened, config, master=master, spark_conf=spark_conf or []) as fit,
        reporter.task("base models", unit="models") as step,
    ):
        for task, was_there in fit_bases(opened, config, fit, engine=engine):
            step.advance()
            reporter.note(f"{task.name}: {'there already' if was_there else 'fitted'}")
    reporter.note(f"next: diffcdr train --tables {tables} --bundle DIR")


@contextmanager
def _fits(
    engine: Engine, tables: Tables, config: TrainConfig, *, master: str | None, spark_conf: Sequence[str]
) -> Iterator[FitBase]:
    if engine == "spark":
        with load_engine("spark", "base")(master, spark_conf) as fit:
            yield fit
    else:
        run = Run(config=config, seed=tables.facts.division.seed, rating_range=tables.facts.rating_range)
        yield partial(_fit_here, tables=tables, run=run)


def _fit_here(task: BaseTask, out: Path, *, tables: Tables, run: Run) -> BaseFit:
    role = "source" if task.role == "source" else "target"
    domain = tables.pair.source if role == "source" else tables.pair.target
    return save_base(out, fit_base(role, ratings_without(domain, task.held), run, dim=task.dim))
