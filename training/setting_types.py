"""The settings of every model: frozen, closed to unknown keys, checked at the boundary.

Presets fill them by section, ``[base]``, ``[diffcdr]``, ``[emcdr]``, …. Defaults follow the paper where it speaks;
what the released code does instead is said at each field, and is what the ``reference`` preset sets.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

ScheduleName = Literal["discrete", "continuous"]
"""``discrete``: DDPM, N = 1000 betas from 1e-4 to 0.02. ``continuous``: VP-linear, beta from 0.1 to 20."""

Conditioning = Literal["input", "hidden"]
"""Where time and condition are added: to x, or to what the DIM's first layer makes of x."""

LossName = Literal["smooth_l1", "l1", "l2"]
SelectBy = Literal["rmse", "mae"]
Dim = Annotated[int, Field(ge=1, le=1024)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MFConfig(_Config):
    """Base matrix factorisation of one domain, section ``[base]``.

    Released code: dim 10, no biases, init_std 1, lr 0.01, 10 epochs, batch 256 (512 for Amazon books), ``adam``.
    """

    kind: Literal["mf"] = "mf"
    dim: int = Field(default=10, ge=1, le=1024)
    """k, before a user bias is added as one more dimension (see ``biases``)."""
    biases: bool = True
    """Global mean, user and item biases. The user bias becomes a last dimension whose item entry is 1: k + 1 in all."""
    init_std: float = Field(default=0.1, gt=0.0)
    """Vectors start at N(0, init_std^2), biases at 0."""
    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=256, ge=1)
    weight_decay: float = Field(default=0.0, ge=0.0)
    """L2 penalty per rating: weight_decay * (|u|^2 + |v|^2 + b_u^2 + b_v^2) is added to its squared error."""
    optimizer: Literal["sparse_adam", "adam"] = "sparse_adam"
    """``adam``: every row moves on its momentum at every step; ``sparse_adam``: a batch's rows alone.

    Neither's cost grows with the tables: see :class:`training.base_models.row_table.RowTable`.
    """


class ALSConfig(_Config):
    """Base model of interactions, section ``[base]``: implicit-feedback ALS (Hu, Koren and Volinsky 2008).

    What counts is which items a user rated, not how: every rating is one interaction.
    """

    kind: Literal["als"] = "als"
    dim: Dim | Annotated[tuple[Dim, ...], Field(min_length=1)] = 128
    """k; less where a domain has fewer users or items than that. A list is a grid: see :meth:`dims`."""
    confidence: float = Field(default=10.0, gt=1.0)
    """c of an item the user has; an item the user has not counts 1."""
    regularisation: float = Field(default=0.05, gt=0.0)
    iterations: int = Field(default=10, ge=1)
    refit: bool = False
    """Once all is chosen, fit the target's base model and the closed-form models again, on validation users too."""

    def dims(self) -> tuple[int, ...]:
        """What k is chosen from, on the validation users: of k that do as well, the first."""
        return self.dim if isinstance(self.dim, tuple) else (self.dim,)


class DiffCDRConfig(_Config):
    """DIM, solver, ALM and Alg. 1, section ``[diffcdr]``."""

    form: Literal["network"] = "network"

    # Network
    hidden_dim: int = Field(default=128, ge=1)
    activation: Literal["none", "silu"] = "silu"
    """Between the DIM's three layers. Released code: ``none``, which makes the whole transfer affine."""
    conditioning: Conditioning = "input"
    """Where time and condition enter (released code: ``input``; the paper's text allows both). Needs an activation.

    In ``input`` they share k dimensions with the noise in x, and the DIM cannot tell them apart: it learns no bent map
    of several dimensions (docs/research-log.md).
    """
    time_features: int = Field(default=10, ge=2, multiple_of=2)
    """Width of the sinusoidal time embedding (released code: k)."""

    # Diffusion
    schedule: ScheduleName = "discrete"
    """Used in training."""
    sampling_schedule: ScheduleName | None = None
    """Used by the solver; None is ``schedule``, the consistent choice. Released code: discrete, then continuous."""
    end_time: float = Field(default=1e-3, gt=0.0, lt=1.0)
    """Sampling ends here, of [0, 1]. Released code: 1e-4, below the discrete grid's first point 1e-3."""
    condition_dropout: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of training rows whose condition is replaced by zeros."""
    guidance_scale: float = Field(default=0.1, ge=0.0)
    """s of Eq. 3: eps_u + s (eps_c - eps_u); 1 is purely conditional."""
    nfe: int = Field(default=30, ge=1, le=1000)
    solver_order: Literal[1, 2, 3] = 3
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
    optimizers: Literal["two", "one"] = "two"
    """Two Adam updates a batch (Alg. 1, lines 8 and 10), or one Adam on the sum of the losses (released code)."""
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

    @property
    def effective_sampling_schedule(self) -> ScheduleName:
        """The schedule the solver runs on."""
        return self.schedule if self.sampling_schedule is None else self.sampling_schedule


class GaussianDiffCDRConfig(_Config):
    """DiffCDR with the DIM and the ALM in closed form, section ``[diffcdr]`` with ``form = "gaussian"``.

    Lists are grids to choose from on the validation users; a list of one fixes the setting.
    """

    form: Literal["gaussian"] = "gaussian"

    # Condition; without effect where the source base model is one of ratings, whose vectors are the condition as is
    history_dim: int = Field(default=256, ge=1, le=4096)
    """Dimensions of the tf-idf history features; less where the source has fewer users or items than that."""
    vector_weight: float = Field(default=0.7, gt=0.0)
    """Length of the base vector in the condition; that of the history is at most 1."""

    # DIM
    ridge_strengths: tuple[float, ...] = Field(default=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), min_length=1)
    """Regularisation of the conditional mean, in mean eigenvalues of the condition's scatter matrix."""
    guidance_scales: tuple[float, ...] = Field(default=(1.0, 0.75, 1.25, 1.5, 2.0, 3.0), min_length=1)
    """s of Eq. 3. 1 is the conditional mean; above 1, away from the average user by what the condition tells."""

    # Diffusion
    schedule: ScheduleName = "continuous"
    end_time: float = Field(default=1e-4, gt=0.0, lt=1.0)
    nfe: int = Field(default=30, ge=1, le=1000)
    solver_order: Literal[1, 2, 3] = 3
    skip: Literal["logsnr", "time"] = "logsnr"

    # ALM
    identity_prior: float = Field(default=30.0, gt=0.0)
    """Pull of the ALM towards the identity, in mean eigenvalues of the solved vectors' scatter matrix."""
    task_weights: tuple[float, ...] = (0.0, 0.3)
    """lambda of Eq. 7; the ALM may also be left out. Above 0 only with a target base model of interactions."""


class EMCDRConfig(_Config):
    """EMCDR (Man et al. 2017), section ``[emcdr]``: regress target vectors on source vectors.

    Released code: ``linear``, lr 0.01, 10 epochs, batch 64 users.
    """

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer, as in the EMCDR paper."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``; the EMCDR paper takes 2 k."""
    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=0.0, ge=0.0)
    select_by: SelectBy = "rmse"


class BiasConfig(_Config):
    """Item mean + source user bias, section ``[bias]``."""

    item_shrinkage: float = Field(default=5.0, ge=0.0)
    """Ratings' worth of pull of an item's bias towards zero."""
    user_shrinkage: float = Field(default=5.0, ge=0.0)
    weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """Weights of the source user bias to choose from on the validation users."""


class MeanConfig(_Config):
    """Always the target domain's mean rating, section ``[mean]``: nothing to set."""


class PopularConfig(_Config):
    """The popular list, section ``[popular]``: nothing to set."""


class TGTConfig(_Config):
    """Target-domain matrix factorisation alone, section ``[tgt]``."""

    init_std: float = Field(default=0.1, gt=0.0)
    """Spread of an unseen user's untrained vector; the base model's ``init_std`` (released code: 1)."""
