"""The benches by name."""

from __future__ import annotations

from bench.harness import Bench
from bench.search import ann, score, sparse, topk
from bench.serving import events, serve, soak, start
from bench.training import base, experiment, prepare, scale, train, transfer

_MODULES = (transfer, train, base, prepare, topk, sparse, ann, score, start, experiment, events, serve, soak, scale)

BENCHES: dict[str, Bench] = {module.NAME: module.bench for module in _MODULES}
"""In the order in which ``all`` runs them."""

SWEPT = (transfer.NAME, train.NAME, base.NAME, prepare.NAME, topk.NAME, score.NAME, start.NAME, scale.NAME)
"""Those whose full form shows how cost grows, so that there is something to draw."""

FULL_ONLY = frozenset({experiment.NAME, serve.NAME, soak.NAME, scale.NAME})
"""Left out of ``all`` in its short form: with little data the first always holds, the second's load generator needs a
core to itself to say anything, the third needs minutes, and the last Java."""
