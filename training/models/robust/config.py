"""Settings of the robust form of DiffCDR, section ``[diffcdr]`` with ``form = "robust"``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from training.setting_types import ScheduleName


class RobustDiffCDRConfig(BaseModel):
    """DiffCDR on what the biases leave, section ``[diffcdr]`` with ``form = "robust"``: for predicting ratings.

    Lists are grids. Of two settings judged alike, the first of its list is taken. ``1e9`` leaves a part out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["robust"] = "robust"

    # Target base model
    item_shrinkages: tuple[PositiveFloat, ...] = Field(default=(5.0, 2.0, 10.0, 20.0), min_length=1)
    """Ratings' worth of pull of an item's bias towards zero; chosen on the validation users."""
    user_shrinkage: float = Field(default=5.0, gt=0.0)
    slope_penalties: tuple[PositiveFloat, ...] = Field(default=(1e9, 30.0, 10.0, 3.0, 1.0), min_length=1)
    """Of the items' reaction to a user's level, in squared rating points; chosen on the validation users."""
    taste_dim: int = Field(default=8, ge=1, le=1024)
    """Dimensions of the residual taste."""

    # Condition
    history_dim: int = Field(default=256, ge=1, le=4096)
    """Features of the source history; less where the domain has fewer users or items than that."""

    # Conditional mean of the DIM
    effect_ratios: tuple[PositiveFloat, ...] = Field(default=(0.2, 0.05), min_length=1)
    """Variance of users' levels over that of a user's ratings: n ratings weigh n / (1 + ratio n). By leave-one-out."""
    shape_penalties: tuple[PositiveFloat, ...] = Field(default=(1000.0, 300.0, 100.0, 30.0), min_length=1)
    """Of the features that describe how a user rates, except the first; chosen by leave-one-out."""
    history_penalties: tuple[PositiveFloat, ...] = Field(default=(1e9, 10_000.0, 3000.0, 1000.0), min_length=1)
    """Of the history features; chosen by leave-one-out."""
    taste_penalties: tuple[PositiveFloat, ...] = (30_000.0, 10_000.0, 3000.0, 1000.0)
    """Of the map to the residual taste; chosen on the validation users, who may also leave the taste out."""

    # Diffusion
    guidance_scales: tuple[PositiveFloat, ...] = Field(default=(1.0, 0.75, 1.25), min_length=1)
    """s of Eq. 3. 1 is the conditional mean; chosen on the validation users."""
    schedule: ScheduleName = "continuous"
    end_time: float = Field(default=1e-4, gt=0.0, lt=1.0)
    nfe: int = Field(default=30, ge=1, le=1000)
    solver_order: Literal[1, 2, 3] = 3
    skip: Literal["logsnr", "time"] = "logsnr"

    # Gate
    gates: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Weights of this model beside the ``bias`` model to choose from on the validation users; each of (0, 1]."""
    smallest_gain: float = Field(default=5e-4, ge=0.0)
    """The gate stays shut (exactly the ``bias`` model) unless the validation RMSE falls by this share of itself."""
