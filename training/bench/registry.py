"""The benches by name."""

from __future__ import annotations

from training.bench import base, prepare, score, serve, start, topk, train, transfer
from training.bench.harness import Bench

_MODULES = (transfer, train, base, prepare, topk, score, start, serve)

BENCHES: dict[str, Bench] = {module.NAME: module.bench for module in _MODULES}
"""In the order in which ``all`` runs them."""

FULL_ONLY = frozenset({serve.NAME})
"""Left out of ``all`` in its short form: a load generator needs seconds of a core to itself to say anything."""
