"""CMF (Singh and Gordon 2008): both domains' ratings factorised together, an overlap user having one vector."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from diffcdr.errors import InputError
from training.base_models.config import MFConfig
from training.base_models.mf import MatrixFactorization
from training.base_models.unrated import joined
from training.models.epoch_model import LearnedModel, Learner
from training.problem import ScoringHead, TransferProblem, rating_tensors
from training.rating_table import RatingTable
from training.setting_types import EpochsConfig


class CMFConfig(EpochsConfig):
    """Collective matrix factorisation (Singh and Gordon 2008), section ``[cmf]``.

    Released code: as its base models, on the ratings of both domains together.
    """

    dim: int = Field(default=10, ge=1, le=1024)
    """k, before a user bias is added as one more dimension (see ``biases``)."""
    biases: bool = True
    init_std: float = Field(default=0.1, gt=0.0)
    batch_size: int = Field(default=256, ge=1)
    weight_decay: float = Field(default=0.0, ge=0.0)
    optimizer: Literal["sparse_adam", "adam"] = "sparse_adam"
    """As of the base models; ``adam`` moves all rows at each step, its cost grows with the tables."""


class CMF(LearnedModel[CMFConfig]):
    """One factorisation of the union of both tables; the base models are not used.

    A cold-start user's vector, learnt from source ratings alone, is a vector of the target domain as it is.
    """

    name = "cmf"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """The squared error over all ratings of both domains, each rating counting the same."""
        config, table = self.config, joint_table(problem)
        if not len(table):
            raise InputError("CMF needs ratings and there are none; check the rating files and their cleaning")
        settings = MFConfig(
            dim=config.dim,
            biases=config.biases,
            init_std=config.init_std,
            lr=config.lr,
            weight_decay=config.weight_decay,
            optimizer=config.optimizer,
            negatives=int(problem.target_zeros is not None),
        )
        model, columns = MatrixFactorization(table, settings, generator=generator), rating_tensors(table)
        source_users, source_items = problem.source.n_users, problem.source.n_items

        def inputs() -> Tensor:
            return model.tables().user_vectors[:source_users].clone()

        def head() -> ScoringHead:
            tables = model.tables()
            head = tables.head()
            return replace(
                head,
                item_vectors=head.item_vectors[source_items:].clone(),
                item_biases=head.item_biases[source_items:].clone(),
            )

        return Learner(
            module=model,
            transfer=nn.Identity(),
            is_affine=True,
            inputs=inputs,
            head=head,
            optimizers=[],
            train_epoch=lambda generator: model.epoch(columns, batch_size=config.batch_size, generator=generator),
            rows=len(table),
            data=columns.all(),
        )

    def adopt(self, module: nn.Module, trained: nn.Module) -> None:
        """All items and source users, with their Adam's state; the other target users are other ones, or none."""
        assert isinstance(module, MatrixFactorization)
        assert isinstance(trained, MatrixFactorization)
        module.offset = trained.offset
        mine = module.state_dict()
        for name, values in trained.state_dict().items():
            rows = slice(0, min(len(values), len(mine[name]))) if values.dim() else ...
            mine[name][rows] = values[rows]


def joint_table(problem: TransferProblem) -> RatingTable:
    """Source ratings, then target ratings, as one table.

    Users: the source's rows, then the target users that are no training overlap users, in order; the latter have
    their source row. Items: the source's rows, then the target's.
    """
    source = joined(problem.source, problem.source_zeros)
    target = joined(problem.target, problem.target_zeros)
    overlap = problem.overlap_target.numpy()
    own = np.ones(target.n_users, dtype=bool)
    own[overlap] = False
    rows = source.n_users + np.cumsum(own) - 1
    rows[overlap] = problem.overlap_source.numpy()
    return RatingTable(
        users=np.concatenate([source.users, rows[target.users]]),
        items=np.concatenate([source.items, source.n_items + target.items]),
        ratings=np.concatenate([source.ratings, target.ratings]),
        n_users=source.n_users + int(own.sum()),
        n_items=source.n_items + target.n_items,
    )
