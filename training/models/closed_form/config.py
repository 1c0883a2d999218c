"""Settings of DiffCDR in closed form, section ``[diffcdr]`` with ``form = "gaussian"``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from training.setting_types import ScheduleName, Settings


class GaussianDiffCDRConfig(Settings):
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
