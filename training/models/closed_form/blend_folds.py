"""Cross-validation folds over training overlap users and validation users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from training.base_models.als import factorise, interactions
from training.evaluation.ranking import UserLists
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.neighbour_head import NeighbourHead
from training.models.closed_form.row_path import Conditions
from training.models.closed_form.target_rows import TargetRows
from training.problem import ImplicitFeedback, TransferProblem


@dataclass(frozen=True)
class Learnable:
    """Users who are known in both domains, and the target domain they are learnt from.

    ``source_rows`` int64 [L]; ``target_rows`` int64 [L], rows of ``interactions`` [n, m], binary, float32.
    """

    source_rows: Int64Array
    target_rows: Int64Array
    interactions: sparse.csr_array

    @classmethod
    def training(cls, problem: TransferProblem) -> Self:
        """The training overlap users alone."""
        return cls(problem.overlap_source.numpy(), problem.overlap_target.numpy(), interactions(problem.target))

    @classmethod
    def everyone(cls, problem: TransferProblem) -> Self:
        """The validation users among them; their target rows come behind those of the domain's users."""
        held = problem.validation
        return cls(
            np.concatenate([problem.overlap_source.numpy(), held.source_rows.numpy()]),
            np.concatenate([problem.overlap_target.numpy(), problem.target.n_users + np.arange(len(held.source_rows))]),
            sparse.csr_array(sparse.vstack([interactions(problem.target), interactions(held.ratings)])),
        )

    def without(self, left: Int64Array) -> Learnable:
        """All but the users at positions ``left``, whose target rows are emptied."""
        weights = np.ones(self.interactions.shape[0], dtype=np.float32)
        weights[self.target_rows[left]] = 0.0
        emptied = sparse.csr_array(sparse.diags_array(weights) @ self.interactions)
        emptied.eliminate_zeros()
        kept = np.setdiff1d(np.arange(len(self.source_rows)), left)
        return Learnable(self.source_rows[kept], self.target_rows[kept], emptied)

    def relevant(self, positions: Int64Array) -> UserLists:
        """The target items of users at ``positions``."""
        rows = self.interactions[self.target_rows[positions]]
        rows.sort_indices()
        return UserLists(rows.indptr.astype(np.int64), rows.indices.astype(np.int64))


def target_rows(users: Learnable, config: BlendDiffCDRConfig, feedback: ImplicitFeedback, *, seed: int) -> TargetRows:
    """The rows of ``users``: their own, and the mean of the ALS reconstructions."""
    share = 1.0 / len(config.als_dims)
    tables = [
        factorise(users.interactions, feedback, dim=dim, iterations=config.als_iterations, seed=seed)
        for dim in config.als_dims
    ]
    return TargetRows(
        sparse.csr_array(users.interactions[users.target_rows].astype(np.float64)),
        np.hstack([vectors[users.target_rows].astype(np.float64) * share for vectors, _ in tables]),
        np.hstack([items.astype(np.float64) for _, items in tables]),
    )


@dataclass(frozen=True)
class Fold:
    """What is learnt from ``users`` to evaluate on others.

    Of those judged: ``placed`` [q, d], their conditions; ``histories``, their source items, binary; ``relevant``, their
    target items. ``popularity`` [m]: share of the domain's users with an item.
    """

    users: Learnable
    conditions: Conditions
    rows: TargetRows
    placed: Float64Array
    histories: sparse.csr_array
    relevant: UserLists
    popularity: Float64Array
    head: NeighbourHead


@dataclass(frozen=True)
class Source:
    """All source users: ``conditions`` float64 [n, d], ``items`` binary [n, m], ``idf`` [m] for the neighbour head."""

    conditions: Float64Array
    items: sparse.csr_array
    idf: Float32Array

    def head(self, users: Learnable) -> NeighbourHead:
        """The neighbour head learnt from ``users``."""
        return NeighbourHead(
            sparse.csr_array(self.items[users.source_rows]),
            sparse.csr_array(users.interactions[users.target_rows]),
            self.idf,
        )


def make_folds(
    everyone: Learnable, source: Source, config: BlendDiffCDRConfig, feedback: ImplicitFeedback, *, seed: int
) -> list[Fold]:
    """``config.folds`` of them, fewer where there are fewer users."""
    count = len(everyone.source_rows)
    parts = np.array_split(np.random.default_rng(seed).permutation(count), min(config.folds, count))
    step = max(1, -(-count // config.judged_users))
    folds = []
    for part in parts:
        left = np.sort(part)
        users = everyone.without(left)
        conditions = Conditions(source.conditions[users.source_rows])
        judged = left[::step]
        folds.append(
            Fold(
                users=users,
                conditions=conditions,
                rows=target_rows(users, config, feedback, seed=seed),
                placed=conditions.place(source.conditions[everyone.source_rows[judged]]),
                histories=sparse.csr_array(source.items[everyone.source_rows[judged]]),
                relevant=everyone.relevant(judged),
                popularity=popularity(users),
                head=source.head(users),
            )
        )
    return folds


def popularity(users: Learnable) -> Float64Array:
    """Share of the target domain's users with each item, [m]."""
    counts = np.asarray(users.interactions.sum(axis=0), dtype=np.float64).ravel()
    share: Float64Array = counts / users.interactions.shape[0]
    return share
