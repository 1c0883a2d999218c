"""Which ratings are likes: list models that learn from all ratings, or from high ones alone, judged both ways.

    python -m scripts.results.likes_study --source movies.parquet --target music.parquet --seeds 0,1,2

Prints a table: NDCG@20 of users held out, where every target rating is relevant, and where those from 4 on are; of
validation users, by which to choose, and of test users. What a model does not learn from stays a held-out rating of
others, and splits are those of ``diffcdr train``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from training.config import load_preset
from training.models.contract import TransferModel
from training.models.registry import MODELS, section_of
from training.models.table_model import TabularModel
from training.problem import HeldOut, TransferProblem
from training.rating_table import RatingTable
from training.run.fit import evaluate
from training.run.prepare import DomainFile, Prepared, fit_base, load_pair, prepare
from training.run.run import Run

RANGE = (1.0, 5.0)
RELEVANT = 4.0
EVERY = 0.0


@dataclass(frozen=True)
class Likes:
    """The lowest rating that counts as a like in each domain; 0 for every rating."""

    source: float = EVERY
    target: float = EVERY

    def __str__(self) -> str:
        sides = [f"{name} from {least:g}" for name, least in vars(self).items() if least > EVERY]
        return ", ".join(sides) or "every rating"


VARIANTS = (Likes(), Likes(source=3.0, target=3.0), Likes(source=4.0), Likes(target=4.0), Likes(source=4.0, target=4.0))


@dataclass(frozen=True)
class LikesFigures:
    """NDCG@20 of one model: ``every`` and ``liked`` say what is relevant; of validation users, and of test users."""

    model: str
    likes: Likes
    validation_every: float
    validation_liked: float
    test_every: float
    test_liked: float


def likes_study(
    prepared: Prepared, run: Run, *, models: Sequence[str], variants: Sequence[Likes] = VARIANTS
) -> Iterator[LikesFigures]:
    """Fit each of ``models`` to what each of ``variants`` leaves of the training ratings, and judge it both ways."""
    for likes in variants:
        problem = liked(prepared.problem, likes, run)
        complete = None if prepared.complete is None else liked(prepared.complete, likes, run)
        for name in models:
            model = MODELS[name].create(getattr(run.config, section_of(name)))
            model.fit(problem, generator=run.generator(name))
            judged = [ndcg(model, prepared.problem.validation, least, problem) for least in (EVERY, RELEVANT)]
            final = model
            if complete is not None and isinstance(model, TabularModel):
                final = model.refit(complete, generator=run.generator(name))
            tested = [ndcg(final, prepared.test, least, problem) for least in (EVERY, RELEVANT)]
            yield LikesFigures(name, likes, *judged, *tested)


def liked(problem: TransferProblem, likes: Likes, run: Run) -> TransferProblem:
    """``problem`` with likes alone to learn from, and base models of them."""
    if likes == Likes():
        return problem
    kept = problem.source.ratings >= likes.source
    source, target = problem.source.take(kept), at_least(problem.target, likes.target)
    return replace(
        problem,
        source=source,
        target=target,
        source_base=fit_base("source", source, run, dim=problem.source_base.dim),
        target_base=fit_base("target", target, run, dim=problem.target_base.dim),
        validation=replace(problem.validation, ratings=at_least(problem.validation.ratings, likes.target)),
        source_times=None if problem.source_times is None else problem.source_times[kept],
    )


def at_least(table: RatingTable, least: float) -> RatingTable:
    """The ratings of ``table`` from ``least`` on."""
    return table.take(table.ratings >= least)


def ndcg(model: TransferModel, users: HeldOut, least: float, problem: TransferProblem) -> float:
    """NDCG@20 of ``users``, whose ratings from ``least`` on are relevant; of those users who have one."""
    judged = replace(users, ratings=at_least(users.ratings, least))
    return evaluate(model, judged, rating_range=RANGE, source=problem.source).ndcg


def likes_table(found: Sequence[LikesFigures]) -> str:
    """A row a model and variant, means over the splits, as Markdown."""
    lines = [
        "| model | learns from | validation, every | validation, from 4 | test, every | test, from 4 |",
        "|---|---|---|---|---|---|",
    ]
    for name, likes in dict.fromkeys((each.model, each.likes) for each in found):
        mine = [each for each in found if (each.model, each.likes) == (name, likes)]
        figures = [
            f"{np.mean([getattr(each, part) for each in mine]):.4f}"
            for part in ("validation_every", "validation_liked", "test_every", "test_liked")
        ]
        lines.append(f"| {' | '.join((name, str(likes), *figures))} |")
    return "\n".join(lines)


def main(  # noqa: PLR0913 - a command's options
    source: Annotated[Path, typer.Option(help="Ratings of the source.")],
    target: Annotated[Path, typer.Option(help="Ratings of the target.")],
    test_fraction: Annotated[float, typer.Option(help="Share of shared users held out.")] = 0.2,
    seeds: Annotated[str, typer.Option(help="Splits, separated by commas.")] = "0,1,2",
    models: Annotated[str, typer.Option(help="Models of the preset ranking.")] = "ridge,itemknn,dual_ridge,diffcdr",
    settings: Annotated[list[str] | None, typer.Option("--set", help="As of diffcdr train; repeatable.")] = None,
) -> None:
    """Measure, and print the table as Markdown, once more after each seed."""
    torch.set_num_threads(1)
    config = load_preset("ranking", [f"split.test_fraction={test_fraction}", *(settings or ())])
    pair = load_pair(DomainFile(source), DomainFile(target), rating_range=RANGE)
    found: list[LikesFigures] = []
    for seed in map(int, seeds.split(",")):
        run = Run(config=config, seed=seed, rating_range=RANGE)
        found += likes_study(prepare(pair, run), run, models=models.split(","))
        typer.echo(f"\nseeds up to {seed}:\n\n{likes_table(found)}")


if __name__ == "__main__":
    typer.run(main)
