"""Settings of DiffCDR trained by Algorithm 1, section ``[diffcdr]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from training.models.diffusion.dim import Conditioning
from training.models.diffusion.sampler_plans import SamplerName
from training.setting_types import LossName, ScheduleName, SelectBy, Settings, TimeFrequencies


class DiffCDRConfig(Settings):
    """DIM, solver, ALM and Alg. 1, section ``[diffcdr]``."""

    form: Literal["network"] = "network"

    # Network
    hidden_dim: int = Field(default=128, ge=1)
    activation: Literal["none", "silu"] = "silu"
    """Between the DIM's three layers. Released code: ``none``, which makes the whole transfer affine."""
    conditioning: Conditioning = "input"
    """Where time and condition enter (released code: ``input``; the paper's text allows both). Needs an activation.

    In ``input`` they share k dimensions with the noise in x, and the DIM cannot tell them apart: it learns no bent map
    of several dimensions (docs/results/research-log.md).
    """
    time_features: int = Field(default=10, ge=2, multiple_of=2)
    """Width of the sinusoidal time embedding. Released code: 128, whatever k is; the paper says nothing."""
    time_frequencies: TimeFrequencies = "over_half"
    """Of h frequencies i = 0, 1, …: 10,000^(-i / h), as the work that the paper cites has it, or ``to_the_end``
    10,000^(-i / (h - 1)), the last 1e-4 (released code)."""

    # Diffusion
    schedule: ScheduleName = "discrete"
    """Used in training."""
    sampling_schedule: ScheduleName | None = None
    """Used by the solver; None is ``schedule``, the consistent choice. Released code: discrete, then continuous."""
    end_time: float = Field(default=1e-3, gt=0.0, lt=1.0)
    """Sampling ends here, of [0, 1]. Released code: 1e-4, below the discrete grid's first point 1e-3."""
    condition_dropout: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of training rows whose condition is masked, behind its linear layer (Figure 2)."""
    guidance_scale: float = Field(default=0.1, ge=0.0)
    """s of Eq. 3: eps_u + s (eps_c - eps_u); 1 is purely conditional."""
    sampler: SamplerName = "dpm-solver"
    """``dpm-solver`` (the paper's, singlestep), ``dpm-solver++`` (2M, multistep), ``ddim``, ``ddpm`` (ancestral).

    ``ddpm``, and ``ddim`` with eta > 0, draw noise of each user's own, a function of the training seed and the user's
    id. It is kept beside the user's source vector, which grows by (nfe - 1) k numbers; new users have none of it and
    get the popular list.
    """
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    """Of ``ddim``: 0 draws nothing and takes DPM-Solver-1's steps, 1 is DDPM (Song et al. 2021, eq. 16)."""
    nfe: int = Field(default=30, ge=1, le=1000)
    solver_order: Literal[1, 2, 3] = 3
    """Of ``dpm-solver`` alone."""
    skip: Literal["logsnr", "time"] = "logsnr"
    """Spacing of the solver's steps: uniform in lambda (DPM-Solver's fast version) or in t."""
    initial_state: Literal["source", "gaussian"] = "source"
    """x_T: the user's source vector (the paper's experiments), or one N(0, I) draw shared by all users.

    The draw is made once, from the training seed, and stored with the model, so that a result depends on the user
    alone. ``source`` needs equal source and target dimensions.
    """

    # Losses
    dim_loss: LossName = "l2"
    """Between noise and predicted noise (Eq. 5). Released code: ``smooth_l1``."""
    antithetic: bool = True
    """Draw times in pairs (t, 1 - t) within a batch; lowers the loss's variance."""
    alm_loss: LossName = "l1"
    """Eq. 6; the paper's n = 1 is ``l1``, n = 2 is ``l2``. Released code: ``smooth_l1``."""
    task_weight: float = Field(default=0.1, ge=0.0)
    """lambda of Eq. 7; the paper's grid is 0.01, 0.1, 1, 2, 4, 8. Released code: 0.1. Zero leaves the task loss out."""

    # Optimisation
    rows: Literal["users", "ratings"] = "users"
    """What a batch is made of (Eq. 1, 6 average over users). Released code: ``ratings``; heavy users weigh more."""
    lr: float = Field(default=1e-3, gt=0.0)
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    """Gradients are clipped to this norm (released code: 1.0; the paper says nothing); None leaves them.

    Solved vectors can be large, since the solver divides x_T by alpha_T, some 1/150. Without clipping the ALM's first
    steps are thrown far off, and it seldom finds back.
    """
    batch_size: int = Field(default=128, ge=1)
    """Released code: 128 / 512 / 128 ratings for tasks 1 / 2 / 3."""
    epochs: int = Field(default=10, ge=1)
    select_by: SelectBy = "rmse"
    """The epoch kept is the one with the lowest clipped error of this kind on the validation users."""

    @field_validator("conditioning")
    @classmethod
    def _without_activation_all_is_one(cls, value: Conditioning, info: ValidationInfo) -> Conditioning:
        if value == "hidden" and info.data.get("activation") == "none":
            raise ValueError("needs diffcdr.activation=silu; without an activation both learn the same maps")
        return value

    @field_validator("eta")
    @classmethod
    def _eta_is_of_ddim(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("sampler") != "ddim":
            raise ValueError("needs diffcdr.sampler=ddim; no other sampler has it")
        return value

    @property
    def effective_sampling_schedule(self) -> ScheduleName:
        """The schedule the solver runs on."""
        return self.schedule if self.sampling_schedule is None else self.sampling_schedule
