"""The fold-in rule: computes the source vector of a new user from their ratings."""

from __future__ import annotations

import torch

from diffcdr.bundle.manifest import (
    FoldInSpec,
    HistorySpec,
)
from training.base_models.half_step import nearest_regularisation
from training.models.contract import SourceFold, TransferModel
from training.problem import TransferProblem


def source_fold(model: TransferModel, problem: TransferProblem) -> SourceFold | None:
    """The rule that computes the source vector of a new user from their ratings.

    By the model's own rule, or by the base model's where the source vectors are that model's, with history features
    or without. None for the others: models to which a source user says nothing, jointly trained ones, and those on
    base models with added zeros.
    """
    own = model.source_fold()
    if own is not None:
        return own
    base, history = problem.source_base, model.source_history()
    if base.with_zeros:
        return None  # a new user's history has no zeros drawn for it
    if history is None and not torch.equal(model.source_vectors(), base.user_vectors):
        return None
    features = None if history is None else HistorySpec(dim=history.dim, vector_weight=history.vector_weight)
    if base.feedback is not None:
        regularisation: tuple[float, ...] = (base.feedback.regularisation,)
        spec = FoldInSpec(
            kind="als", confidence=base.feedback.confidence, regularisation=regularisation, history=features
        )
    else:
        found = nearest_regularisation(base.user_vectors.numpy(), base.head(), problem.source)
        regularisation = tuple(found.tolist())
        spec = FoldInSpec(kind="ridge", offset=base.offset, regularisation=regularisation, history=features)
    return SourceFold(spec, base.item_vectors, base.item_biases)
