"""The typed client: python examples/ask_the_service.py ADDRESS USER [USER …]."""

from __future__ import annotations

import sys

from diffcdr.client import Client


def main(address: str, *users: str) -> None:
    """Ask for one list, then for many as a stream, and show which bundles are served."""
    with Client(address) as client:
        answer = client.recommend(users[0], k=5)
        print(users[0], answer.strategy, [item.item_id for item in answer.items])
        for line in client.recommend_batch(users):
            print(line)
        print("ready:", client.readiness().bundle)


if __name__ == "__main__":
    main(*sys.argv[1:])
