"""The weights of one DiffCDR, and what its settings say of the solver."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.diffusion.dim import NoisePredictor
from training.models.diffusion.folding import Folder, check_initial_state
from training.models.diffusion.sampler_plans import sampler_plan
from training.models.diffusion.schedule import make_schedule
from training.models.diffusion.solver import SolverPlan
from training.models.layers import linear
from training.models.network.config import DiffCDRConfig


class DiffCDRNetwork(nn.Module):
    """The weights of one DiffCDR: ``noise_predictor`` (DIM), ``alignment`` (ALM), and x_T where it is shared."""

    initial_state: Tensor | None

    def __init__(self, config: DiffCDRConfig, *, source_dim: int, target_dim: int, generator: torch.Generator) -> None:
        """Raises InputError if x_T is to be the source vector and the dimensions differ."""
        super().__init__()
        shared = None
        if config.initial_state == "gaussian":
            shared = torch.randn(target_dim, generator=generator)
        check_initial_state(source_dim, target_dim, shared)
        self.register_buffer("initial_state", shared)
        self.noise_predictor = NoisePredictor(
            source_dim=source_dim,
            target_dim=target_dim,
            hidden_dim=config.hidden_dim,
            time_features=config.time_features,
            time_frequencies=config.time_frequencies,
            activation=config.activation,
            conditioning=config.conditioning,
            generator=generator,
        )
        self.alignment = alignment_module(target_dim, generator=generator)


def solver_plan(config: DiffCDRConfig) -> SolverPlan:
    """The solver run that ``config`` describes."""
    return sampler_plan(
        config.sampler,
        make_schedule(config.effective_sampling_schedule),
        nfe=config.nfe,
        order=config.solver_order,
        eta=config.eta,
        skip=config.skip,
        end_time=config.end_time,
    )


def folder(config: DiffCDRConfig) -> Folder:
    """What folds a network with the settings ``config``."""
    return Folder(
        solver_plan(config),
        guidance_scale=config.guidance_scale,
        time_features=config.time_features,
        time_frequencies=config.time_frequencies,
    )


def alignment_module(dim: int, *, generator: torch.Generator) -> nn.Linear:
    """An untrained ALM: solved target vectors [B, dim] -> aligned target vectors [B, dim]."""
    return linear(dim, dim, bias=False, generator=generator)
