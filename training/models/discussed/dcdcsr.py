"""DCDCSR (Zhu et al. 2018): maps source vectors to benchmark vectors, built from sparsity and similar users.

From its paper: two factorisations; "the sparsity degree to construct benchmark factors with top-K similar entities
first", then a fully connected network that maps vectors to these (DiffCDR's paper, section 5.1). Chosen here, as both
texts leave it open: similar users are the nearest by cosine of source vectors; their target vectors have equal weight;
the shares are the parts of each domain's items that the user has rated; the network has one hidden layer. Benchmark
vectors lie entirely in the target space, since the axes of two factorisations have nothing in common.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.baselines.mapping import mapping_network, regression
from training.models.epoch_model import LearnedModel, Learner
from training.problem import TransferProblem
from training.setting_types import EpochsConfig

USERS_AT_ONCE = 512


class DCDCSRConfig(EpochsConfig):
    """DCDCSR (Zhu et al. 2018), section ``[dcdcsr]``. The released DiffCDR code has no DCDCSR."""

    mapping: Literal["linear", "mlp"] = "mlp"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer."""
    hidden_dim: int = Field(default=20, ge=1)
    """Width of the hidden layer of ``mlp``."""
    neighbours: int = Field(default=5, ge=1)
    """K: number of similar overlap users, by source vectors."""


class DCDCSR(LearnedModel[DCDCSRConfig]):
    """Minimises the squared distance of mapped source vectors to benchmark vectors of the overlap users."""

    name = "dcdcsr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """A network from source vectors to :func:`benchmark`."""
        config, source_dim, target_dim = self.config, problem.source_base.dim, problem.target_base.dim
        mapping = mapping_network(config, source_dim=source_dim, target_dim=target_dim, generator=generator)
        optimizer = torch.optim.Adam(mapping.parameters(), lr=config.lr, fused=True)
        return regression(
            mapping,
            problem,
            benchmark(problem, neighbours=config.neighbours),
            optimizer=optimizer,
            batch_size=config.batch_size,
            is_affine=config.mapping == "linear",
        )


def benchmark(problem: TransferProblem, *, neighbours: int) -> Tensor:
    """Benchmark vectors of the overlap users, float32 [O, target_dim].

    (d u_t + e n_u) / (d + e): d and e are the parts of the target's and of the source's items that the user has rated,
    n_u the mean target vector of the ``neighbours`` overlap users most similar in the source domain.
    """
    target = problem.target_base.user_vectors[problem.overlap_target]
    similar = nearest(problem.source_base.user_vectors[problem.overlap_source], count=neighbours)
    means = target[similar].mean(dim=1) if similar.shape[1] else target
    of_source, of_target = (
        torch.from_numpy(table.user_sums())[rows] / table.n_items
        for table, rows in ((problem.source, problem.overlap_source), (problem.target, problem.overlap_target))
    )
    total = of_source + of_target
    share = torch.where(total > 0, of_target / total.clamp(min=1e-12), 1.0).float()[:, None]
    return share * target + (1.0 - share) * means


def nearest(vectors: Tensor, *, count: int) -> Tensor:
    """Rows most similar to each row of ``vectors`` [O, k] by cosine, without itself: int64 [O, min(count, O - 1)]."""
    units = nn.functional.normalize(vectors.double(), dim=1)
    found = []
    for rows in torch.split(torch.arange(len(units)), USERS_AT_ONCE):
        alike = units[rows] @ units.T
        alike[torch.arange(len(rows)), rows] = -torch.inf
        found.append(alike.topk(min(count, len(units) - 1), dim=1).indices)
    return torch.cat(found)
