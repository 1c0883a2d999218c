"""The models that a command trains, and the choice of the one to publish."""

from __future__ import annotations

from collections.abc import Mapping

from diffcdr.errors import InputError
from diffcdr.metric_names import lower_is_better
from training.base_models.config import ALSConfig
from training.config import TrainConfig, nearest
from training.evaluation.evaluate import Metrics
from training.evaluation.paired import paired_difference
from training.models.network.config import DiffCDRConfig
from training.models.registry import MODELS

METRICS = ("mae", "rmse", "mae_clipped", "rmse_clipped", "ndcg@20", "hr@20", "recall@20")

OF_HISTORIES = frozenset({"itemknn", "dual_ridge", "ease", "joint_als", "userknn", "gfcf", "slim"})
"""Models of who has which items, without base models; their scores order items."""
OF_INTERACTIONS = frozenset({"mean", "bias", "popular", "ridge", "diffcdr"}) | OF_HISTORIES
"""Models that mean something on base models of interactions; the others fit ratings with their vectors."""
CONTENDERS = ("popular", "ridge", "itemknn", "dual_ridge", "slim")
"""Plain models of interactions that cost seconds: what DiffCDR has to show itself against before it is published.

:mod:`training.run.contenders` has the sizes up to which they do.
"""
EVIDENCE_METRIC = "ndcg@20"
FAVOURED = "diffcdr"
"""Published for lists, unless a plain model is better by one standard error."""
ABLATIONS = frozenset({"diffcdr-da", "diffcdr-at", "diffcdr-at-task"})
"""Parts of the trained network; its closed forms leave nothing out."""
OF_THE_PAPER = frozenset({"tgt", "cmf", "emcdr", "sscdr", "lacdr", "ptupcdr", "diffcdr"}) | ABLATIONS
"""The seven systems that the paper evaluates (Table 2) and its ablations (Table 3), AT in both readings."""
WORDS = ("all", "paper")


def suited(config: TrainConfig) -> tuple[str, ...]:
    """The models that ``all`` stands for under ``config``: those that fit its base models and form of DiffCDR."""
    names = set(OF_INTERACTIONS) if isinstance(config.base, ALSConfig) else set(MODELS) - OF_HISTORIES
    if not isinstance(config.diffcdr, DiffCDRConfig):
        names -= ABLATIONS
    return tuple(name for name in MODELS if name in names)


def parse_models(text: str, config: TrainConfig) -> tuple[str, ...]:
    """A comma-separated list of names, ``all`` and ``paper`` -> names in the order of ``MODELS``.

    ``paper``: the systems that the paper evaluates, and its ablations.

    Raises:
        InputError: a name is not a model's, or there is none, or the settings do not suit the paper's systems.
    """
    names = {part.strip() for part in text.split(",")} - {""}
    if "all" in names:
        names |= set(suited(config))
    if "paper" in names:
        if not set(suited(config)) >= OF_THE_PAPER:
            raise InputError(
                "--models paper is the paper's systems and ablations, which need base models of ratings and the "
                "trained network; use --preset reference or --preset paper"
            )
        names |= OF_THE_PAPER
    names -= set(WORDS)
    for name in sorted(names - MODELS.keys()):
        near = nearest(name, [*WORDS, *MODELS])
        raise InputError(f"there is no model {name!r}{near}; models are: {', '.join([*WORDS, *MODELS])}")
    if not names:
        raise InputError(f"--models names no model; models are: {', '.join([*WORDS, *MODELS])}")
    return tuple(name for name in MODELS if name in names)


def check_metric(metric: str) -> None:
    """Raises InputError where ``metric`` is not one that champions can be chosen by."""
    if metric not in METRICS:
        raise InputError(f"there is no metric {metric!r}{nearest(metric, METRICS)}; metrics are: {', '.join(METRICS)}")


def on_evidence(validation: Mapping[str, Metrics]) -> str:
    """:data:`FAVOURED`, unless the model with the best NDCG@20 on the validation users is better than it by more than
    one standard error of the paired difference."""
    best = max(validation, key=lambda name: validation[name].ndcg)
    found = paired_difference(validation[best], validation[FAVOURED])
    if found is None or found.standard_error is None:
        return FAVOURED
    return best if found.ndcg > found.standard_error else FAVOURED


def champion(validation: Mapping[str, Metrics], metric: str) -> str:
    """The model with the best ``metric`` on the validation users; of equals, the first.

    Raises:
        InputError: no model has the metric (scores of lists are not ratings, and have no rating errors).
    """
    sign = -1.0 if lower_is_better(metric) else 1.0
    figures = {name: metrics.as_dict() for name, metrics in validation.items()}
    scores = {name: sign * each[metric] for name, each in figures.items() if metric in each}
    if not scores:
        raise InputError(f"none of the models predicts ratings, so {metric} cannot choose one; use --select ndcg@20")
    return max(scores, key=lambda name: scores[name])
