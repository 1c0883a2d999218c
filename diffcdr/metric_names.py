"""The metrics of manifests and reports by name: which direction is better, and which only describe lists."""

from __future__ import annotations

from collections.abc import Iterable

LOWER_IS_BETTER = frozenset({"rmse", "mae", "mse", "logloss"})
DESCRIPTIVE = frozenset({"coverage", "novelty", "gini", "head_share", "similarity"})
"""Figures that say what lists are like (docs/reference/metrics.md): shown apart, and no model is best in them."""
TRAINED_BASELINES = ("popular", "bias", "mean")
"""Baselines trained with every model: they know nothing of a user's taste and cost next to nothing."""


def base_name(metric: str) -> str:
    """``rmse_clipped`` -> ``rmse``, ``ndcg@20`` -> ``ndcg``."""
    return metric.lower().partition("@")[0].removesuffix("_clipped")


def lower_is_better(metric: str) -> bool:
    """Whether ``metric`` is an error."""
    return base_name(metric) in LOWER_IS_BETTER


def is_better(value: float, than: float, *, metric: str) -> bool:
    """Whether ``value`` of ``metric`` is better than the other; of equals, neither is."""
    return value < than if lower_is_better(metric) else value > than


def best_of(values: Iterable[float], *, metric: str) -> float:
    """The best of ``values`` of ``metric``; there is at least one."""
    return min(values) if lower_is_better(metric) else max(values)
