"""LACDR (Wang et al. 2021): an autoencoder per domain, with the codes of overlap users aligned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.models.batching import UserRatings, raters
from training.models.epoch_model import LearnedModel, Learner, descend
from training.models.layers import linear
from training.problem import TransferProblem
from training.setting_types import EpochsConfig

Distance = Literal["squared", "norm"]


class LACDRConfig(EpochsConfig):
    """LACDR (Wang et al. 2021), section ``[lacdr]``.

    The defaults are the LACDR paper's form; the released DiffCDR code has another, said at each setting.
    """

    hidden_dim: int = Field(default=4, ge=1)
    """Size of the codes (released code: 4)."""
    activation: Literal["none", "tanh"] = "none"
    """Of the codes. ``none`` makes the transfer affine (released code)."""
    biases: bool = True
    """Of encoders and decoders (released code: none)."""
    distance: Distance = "squared"
    """All three losses: mean squared error, or the mean Euclidean distance of rows, not squared (released code)."""
    alignment_weight: float = Field(default=1.0, gt=0.0)
    """Weight of the distance of codes; 1 is the plain sum (released code: 2)."""
    reconstruct: Literal["all", "overlap"] = "all"
    """Whose vectors are reconstructed: all users' with ratings, or the training overlap users' (released code)."""
    rows: Literal["users", "ratings"] = "users"
    """What a batch is made of. Released code: target ratings of overlap users; heavy users weigh more."""


def mean_squared(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared error; zero for no rows."""
    return nn.functional.mse_loss(first, second) if len(first) else first.new_zeros(())


def mean_norm(first: Tensor, second: Tensor) -> Tensor:
    """Mean Euclidean distance of rows; zero for no rows."""
    return torch.linalg.vector_norm(first - second, dim=1).mean() if len(first) else first.new_zeros(())


DISTANCES: Mapping[Distance, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"squared": mean_squared, "norm": mean_norm}
)


class Autoencoder(nn.Module):
    """One domain: ``encoder`` [B, k] -> [B, hidden], ``decoder`` back."""

    def __init__(self, dim: int, config: LACDRConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        code = linear(dim, config.hidden_dim, bias=config.biases, generator=generator)
        self.encoder = nn.Sequential(code) if config.activation == "none" else nn.Sequential(code, nn.Tanh())
        self.decoder = linear(config.hidden_dim, dim, bias=config.biases, generator=generator)

    def reconstructed(self, vectors: Tensor) -> Tensor:
        """``vectors`` [B, k] coded and decoded."""
        decoded: Tensor = self.decoder(self.encoder(vectors))
        return decoded


class LACDR(LearnedModel[LACDRConfig]):
    """The transfer is the target decoder on the source code.

    With ``reconstruct`` ``all``, users of one domain alone shape its codes too; only the alignment needs overlap users.
    """

    name = "lacdr"

    def learner(self, problem: TransferProblem, *, generator: torch.Generator) -> Learner:
        """Both reconstruction losses + ``alignment_weight`` times the distance of overlap users' codes.

        An epoch goes through the rows once, and in as many batches through all whose vectors are reconstructed.
        """
        config, source_base, target_base = self.config, problem.source_base, problem.target_base
        distance = DISTANCES[config.distance]
        source = Autoencoder(source_base.dim, config, generator=generator)
        target = Autoencoder(target_base.dim, config, generator=generator)
        module = nn.ModuleList([source, target])
        optimizer = torch.optim.Adam(module.parameters(), lr=config.lr, fused=True)
        of_source = source_base.user_vectors[problem.overlap_source]
        of_target = target_base.user_vectors[problem.overlap_target]
        rows = torch.arange(len(of_source)) if config.rows == "users" else UserRatings.of_overlap(problem).users
        all_source = source_base.user_vectors[raters(problem.source)]
        all_target = target_base.user_vectors[raters(problem.target)]
        batches = -(-len(rows) // config.batch_size)

        def others(users: Tensor, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
            """Vectors of each batch to be reconstructed: of the source, of the target."""
            if config.reconstruct == "overlap":
                return [(of_source[each], of_target[each]) for each in users.tensor_split(batches)]
            parts = [
                table[torch.randperm(len(table), generator=generator)].tensor_split(batches)
                for table in (all_source, all_target)
            ]
            return list(zip(*parts, strict=True))

        def train_epoch(generator: torch.Generator) -> dict[str, float]:
            users = rows[torch.randperm(len(rows), generator=generator)]
            coded = others(users, generator)
            totals = torch.zeros(3, dtype=torch.float64)
            for overlap, (in_source, in_target) in zip(users.tensor_split(batches), coded, strict=True):
                losses = torch.stack(
                    [
                        distance(source.encoder(of_source[overlap]), target.encoder(of_target[overlap])),
                        distance(source.reconstructed(in_source), in_source),
                        distance(target.reconstructed(in_target), in_target),
                    ]
                )
                descend(optimizer, config.alignment_weight * losses[0] + losses[1] + losses[2])
                totals += losses.detach()
            alignment, source_loss, target_loss = (totals / batches).tolist()
            return {"alignment_loss": alignment, "source_loss": source_loss, "target_loss": target_loss}

        return Learner(
            module=module,
            transfer=nn.Sequential(source.encoder, target.decoder),
            is_affine=config.activation == "none",
            inputs=lambda: source_base.user_vectors,
            head=target_base.head,
            optimizers=[optimizer],
            train_epoch=train_epoch,
            rows=len(rows),
            data=[of_source, of_target, all_source, all_target, rows],
        )
