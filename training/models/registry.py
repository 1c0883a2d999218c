"""Every model by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from training.models.base import TransferModel
from training.models.bias import Bias
from training.models.configs import (
    BiasConfig,
    DiffCDRConfig,
    EMCDRConfig,
    GaussianDiffCDRConfig,
    MeanConfig,
    PopularConfig,
    TGTConfig,
)
from training.models.configs_robust import RobustDiffCDRConfig
from training.models.diffcdr import DiffCDR
from training.models.emcdr import EMCDR
from training.models.gaussian import GaussianDiffCDR
from training.models.mean import Mean
from training.models.popular import Popular
from training.models.robust import RobustDiffCDR
from training.models.tgt import TGT


@dataclass(frozen=True)
class ModelEntry:
    """``model(config)`` makes an untrained model from settings of type ``config``, the preset section of its name."""

    model: Any
    config: type[BaseModel]

    def create(self, config: BaseModel) -> TransferModel:
        """An untrained model."""
        made: TransferModel = self.model(config)
        return made


AnyDiffCDRConfig = DiffCDRConfig | GaussianDiffCDRConfig | RobustDiffCDRConfig


def make_diffcdr(config: AnyDiffCDRConfig) -> TransferModel:
    """DiffCDR in the form of its settings."""
    if isinstance(config, RobustDiffCDRConfig):
        return RobustDiffCDR(config)
    return GaussianDiffCDR(config) if isinstance(config, GaussianDiffCDRConfig) else DiffCDR(config)


MODELS: Mapping[str, ModelEntry] = MappingProxyType(
    {
        "mean": ModelEntry(Mean, MeanConfig),
        "bias": ModelEntry(Bias, BiasConfig),
        "popular": ModelEntry(Popular, PopularConfig),
        "tgt": ModelEntry(TGT, TGTConfig),
        "emcdr": ModelEntry(EMCDR, EMCDRConfig),
        "diffcdr": ModelEntry(make_diffcdr, DiffCDRConfig),
    }
)
