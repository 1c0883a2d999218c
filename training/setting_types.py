"""The base classes of all settings: frozen, validated, without unknown keys.

Presets fill them by section, ``[base]``, ``[diffcdr]``, ``[emcdr]``, …. Defaults follow the paper where it speaks;
what the released code does instead is said at each field, and is what the ``reference`` preset sets.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ScheduleName = Literal["discrete", "continuous"]
"""``discrete``: DDPM, N = 1000 betas from 1e-4 to 0.02. ``continuous``: VP-linear, beta from 0.1 to 20."""


TimeFrequencies = Literal["over_half", "to_the_end"]
"""Of the sinusoidal time embedding of h frequencies: 10,000^(-i / h), or 10,000^(-i / (h - 1)), which ends at 1e-4."""


LossName = Literal["smooth_l1", "l1", "l2"]
SelectBy = Literal["rmse", "mae"]
Dim = Annotated[int, Field(ge=1, le=1024)]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EpochsConfig(Settings):
    """The settings of every model that trains in epochs."""

    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    select_by: SelectBy = "rmse"
    """The epoch kept is the one with the lowest clipped error of this kind on the validation users."""
