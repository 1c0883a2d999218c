"""A model of your own on the shared contract: python examples/add_a_model.py SOURCE TARGET.

In the project it would be a file in ``training/models/baselines/`` and a line in ``training/models/registry.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from training.config import load_preset
from training.models.table_model import Tables, TabularModel
from training.problem import TransferProblem
from training.run.fit import evaluate
from training.run.prepare import DomainFile, load_pair, prepare
from training.run.run import Run


class Centroid(TabularModel):
    """Everyone gets the mean target vector of the users known in both domains: one list for all."""

    name = "centroid"

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """A map that forgets its input and adds the centroid."""
        source, target = problem.source_base.user_vectors, problem.target_base
        return Tables(
            source_vectors=source,
            matrix=torch.zeros(source.shape[1], target.dim),
            offset=target.user_vectors[problem.overlap_target].mean(dim=0),
            head=target.head(),
        )


def main(source: str, target: str) -> None:
    """Fit the model on two rating files, and print how good it is on held-out users."""
    config = load_preset("ranking")
    run = Run(config=config, seed=0, rating_range=(1.0, 5.0))
    pair = load_pair(DomainFile(Path(source)), DomainFile(Path(target)), rating_range=run.rating_range)
    prepared = prepare(pair, run)
    model = Centroid()
    model.fit(prepared.problem, generator=run.generator(model.name))
    figures = evaluate(model, prepared.test, rating_range=run.rating_range, source=prepared.problem.source)
    print(f"{model.name} NDCG@20 {figures.ndcg:.4f} on {figures.users} users")


if __name__ == "__main__":
    main(*sys.argv[1:])
