"""The benches by name."""

from __future__ import annotations

from training.bench import start, topk, train, transfer
from training.bench.harness import Bench

BENCHES: dict[str, Bench] = {module.NAME: module.bench for module in (transfer, train, topk, start)}
"""In the order in which ``all`` runs them."""
