"""A bundle without a server: python examples/without_a_server.py BUNDLE USER [USER …]."""

from __future__ import annotations

import sys

import diffcdr


def main(bundle: str, *users: str) -> None:
    """Print a list for the first user, a table for all, and the size of their vectors."""
    recommender = diffcdr.load(bundle)
    answer = recommender.recommend(users[0], k=5)
    print(users[0], answer.strategy, answer.fallback_reason or "")
    for rank, item in enumerate(answer, start=1):
        print(f"{rank:2} {item.score:8.3f}  {item.title or item.item_id}")
    print(recommender.recommend_many(users, k=5))
    print("vectors", recommender.embed(users).shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
