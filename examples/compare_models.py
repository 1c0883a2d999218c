"""Several models on one split: python examples/compare_models.py SOURCE TARGET [MODELS]."""

from __future__ import annotations

import sys

from training import fit


def main(source: str, target: str, models: str = "ridge,diffcdr") -> None:
    """Print the figures of ``models`` and of the baselines on the same held-out users, best NDCG first."""
    trained = fit(source, target, preset="ranking", models=models, select="ndcg@20")
    best_first = sorted(trained.test.items(), key=lambda item: -item[1].ndcg)
    for name, figures in best_first:
        print(f"{name:10} NDCG@20 {figures.ndcg:.4f}  HR@20 {figures.hr:.4f}  Recall@20 {figures.recall:.4f}")
    print("validation users prefer", trained.published)


if __name__ == "__main__":
    main(*sys.argv[1:])
