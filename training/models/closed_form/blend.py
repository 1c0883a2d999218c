"""DiffCDR in closed form on whole target rows: the form of the preset ``ranking``.

As :mod:`training.models.closed_form.gaussian`, in another target space and with every choice by cross-validation:

1. The condition is the history itself (``history.py``) beside the source base vector.
2. What is predicted is a whole target row: a share of the row itself, the rest the mean of its ALS reconstructions
   (``target_rows.py``). Its main directions, as far as conditions predict them, are the target space (``row_path.py``).
3. DIM, guidance, DPM-Solver and ALM are affine there (``row_chain.py``), so the transfer is one affine map.
4. A sparse head adds what neighbours of single source items say, which no few directions hold (``neighbour_head.py``).
5. The popular list is a member of the blend; with few users it gains weight (``blend_search.py``).

A user's target vector is [deviation from the average user ; constant], the last item dimension the average row with the
popular list, so that a score is an inner product without a bias, and first target ratings move it as they do with ALS.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from scipy import sparse

from diffcdr.arrays import Float64Array
from diffcdr.errors import InputError
from training.base_models.als import draw_seed, interactions
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.blend_folds import Learnable, Source, make_folds, popularity, target_rows
from training.models.closed_form.blend_search import BlendChoice, BlendSearch, Evidence
from training.models.closed_form.neighbour_head import NeighbourHead
from training.models.closed_form.row_chain import RowChain
from training.models.closed_form.row_path import Conditions, RowPath
from training.models.contract import fitted
from training.models.history import HistoryMap, inverse_frequencies
from training.models.sparse_term import SparseTerm
from training.models.table_model import Tables, TabularModel
from training.problem import ImplicitFeedback, ScoringHead, TransferProblem

OWN_STRENGTH = 0.3
"""Regularisation of a vector by target ratings alone, against item directions of length 1."""


class BlendDiffCDR(TabularModel):
    """DiffCDR in closed form on target rows; see :class:`BlendDiffCDRConfig` for what can be set."""

    name = "diffcdr"

    def __init__(self, config: BlendDiffCDRConfig) -> None:
        super().__init__()
        self.config = config
        self._history: HistoryMap | None = None
        self._found: tuple[BlendChoice, Evidence, int] | None = None

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """Choose by cross-validation over training and validation users, then fit to the training users."""
        config, base = self.config, problem.source_base
        feedback = _feedback(problem)
        items = interactions(problem.source)
        self._history = HistoryMap.fit(
            items,
            dim=config.history_dim,
            vector_weight=config.vector_weight,
            seed=draw_seed(generator),
            idf_power=config.idf_power,
        )
        conditions = self._history.conditions(items, base.user_vectors.numpy())
        source = Source(conditions.astype(np.float64), items, inverse_frequencies(items, power=1.0))
        seed = draw_seed(generator)
        folds = make_folds(Learnable.everyone(problem), source, config, feedback, seed=seed)
        self._found = (*BlendSearch(config, folds).choose(), seed)
        return self._fit(problem, torch.from_numpy(conditions))

    def solve_again(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        """As chosen. The conditions stay what they were: they know nothing of the target."""
        return self._fit(problem, self.source_vectors())

    def source_history(self) -> HistoryMap | None:
        """How the conditions follow from a user's items."""
        return self._history

    def feedback(self, problem: TransferProblem) -> ImplicitFeedback:
        """The half-step of ALS against this model's own item directions: scores stand for 0 and 1."""
        return ImplicitFeedback(_feedback(problem).confidence, OWN_STRENGTH)

    def details(self) -> dict[str, Any]:
        """Every setting of the method, what was chosen, and its judgement by cross-validation."""
        choice, evidence, _ = fitted(self._found)
        return {**self.config.model_dump(mode="json"), **asdict(choice), "cross_validation": asdict(evidence)}

    def _fit(self, problem: TransferProblem, source: torch.Tensor) -> Tables:
        choice, _, seed = fitted(self._found)
        feedback = _feedback(problem)
        users = Learnable.training(problem)
        conditions = Conditions(source.double().numpy()[users.source_rows])
        path = RowPath(conditions, target_rows(users, self.config, feedback, seed=seed).mixed(choice.raw_share))
        space = path.space(choice.ridge_strength, choice.target_dim)
        chain = RowChain(self.config, path, space, choice.ridge_strength)
        kept = 1.0 - choice.popularity_share
        placed = kept * chain.matrix(chain.guided(choice.guidance_scale), choice.identity_prior)
        matrix, offset = conditions.unplace(placed)
        average = kept * path.mean + choice.popularity_weight * popularity(users)
        length = float(np.linalg.norm(average)) or 1.0
        vectors = np.column_stack([path.items(space), average / length])
        return Tables(
            source_vectors=source,
            matrix=_with_column(matrix, 0.0),
            head=ScoringHead(
                torch.from_numpy(vectors.astype(np.float32)), torch.zeros(len(vectors)), 0.0, objective="ranking"
            ),
            offset=_with_column(offset[None, :], length)[0],
            sparse_term=self._neighbours(problem, users),
        )

    def _neighbours(self, problem: TransferProblem, users: Learnable) -> SparseTerm | None:
        choice = fitted(self._found)[0]
        weight = (1.0 - choice.popularity_share) * choice.neighbour_weight
        if choice.neighbour_table is None or weight == 0.0:
            return None
        items = interactions(problem.source)
        idf = inverse_frequencies(items, power=1.0)
        target = users.interactions[users.target_rows]
        head = NeighbourHead(sparse.csr_array(items[users.source_rows]), sparse.csr_array(target), idf)
        return SparseTerm(idf, 1.0, sparse.csr_array(head.table(choice.neighbour_table) * np.float32(weight)))


def _with_column(matrix: Float64Array, value: float) -> torch.Tensor:
    return torch.from_numpy(np.column_stack([matrix, np.full(len(matrix), value)]))


def _feedback(problem: TransferProblem) -> ImplicitFeedback:
    feedback = problem.target_base.feedback
    if feedback is None or problem.source_base.feedback is None:
        raise InputError(
            "diffcdr.form=blend predicts who has which items, and these base models are of ratings; set base.kind=als, "
            "or take another form of DiffCDR (diffcdr.form=gaussian)"
        )
    return feedback
