"""From two rating files to lists, in Python: python examples/own_files.py SOURCE TARGET BUNDLE."""

from __future__ import annotations

import sys

import diffcdr
from training import fit


def main(source: str, target: str, bundle: str) -> None:
    """Train on two rating files, publish a bundle, and print lists for three users of the source file."""
    trained = fit(source, target, preset="ranking")
    for name, figures in trained.test.items():
        print(f"{name:10} NDCG@20 {figures.ndcg:.3f} on {figures.users} cold-start users")
    print("published", trained.publish(bundle))
    recommender = diffcdr.load(bundle)
    for user in recommender.bundle.source_users.ids.take([0, 1, 2]):
        answer = recommender.recommend(user, k=3)
        print(user, answer.strategy, [item.item_id for item in answer])


if __name__ == "__main__":
    main(*sys.argv[1:])
