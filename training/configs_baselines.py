"""The settings of the models that DiffCDR is compared with, beside those in :mod:`training.setting_types`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from training.setting_types import SelectBy


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EpochsConfig(_Config):
    """What every model that trains in epochs can be set to."""

    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    select_by: SelectBy = "rmse"
    """The epoch kept is the one with the lowest clipped error of this kind on the validation users."""


class RidgeConfig(_Config):
    """Ridge regression of target vectors on source vectors, section ``[ridge]``."""

    strengths: tuple[float, ...] = Field(default=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), min_length=1)
    """Regularisation to choose from on the validation users, in mean eigenvalues of the source scatter matrix."""


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


class SSCDRConfig(EpochsConfig):
    """SSCDR (Kang et al. 2019), section ``[sscdr]``. Released code: ``linear``, negatives drawn once."""

    mapping: Literal["linear", "mlp"] = "linear"
    """``linear``: one matrix, no bias. ``mlp``: one hidden tanh layer."""
    hidden_dim: int = Field(default=20, ge=1)
    """Of ``mlp``."""
    margin: float = Field(default=0.5, ge=0.0)
    """m of the triplet loss, in squared distances of unit vectors: of [0, 4]."""
    triplet_weight: float = Field(default=0.1, ge=0.0)
    """Weight of the unsupervised part; zero leaves it out, which is EMCDR."""
    triplet_batch_size: int = Field(default=64, ge=1)
    """Triplets that accompany each batch of overlap users."""


class LACDRConfig(EpochsConfig):
    """LACDR (Wang et al. 2021), section ``[lacdr]``. Released code: hidden 4, the three losses summed."""

    hidden_dim: int = Field(default=4, ge=1)
    """Size of the codes."""
    activation: Literal["none", "tanh"] = "none"
    """Of the codes. ``none`` makes the transfer affine."""
    alignment_weight: float = Field(default=1.0, gt=0.0)
    """Weight of the distance of codes; 1 is the plain sum."""


class PTUPCDRConfig(EpochsConfig):
    """PTUPCDR (Zhu et al. 2022), section ``[ptupcdr]``. Released code: the last 20 items rated above 3."""

    hidden_dim: int = Field(default=50, ge=1)
    """Of the meta-network."""
    history: int = Field(default=20, ge=1)
    """Longest history; see :func:`training.models.baselines.ptupcdr.histories` for which items are taken."""
    threshold: float = 3.0
    """Only items rated above this are in a history."""
    batch_size: int = Field(default=128, ge=1)
    """Ratings, since the loss is of ratings."""
