"""Every model by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from diffcdr.errors import InputError
from training.models.ablations import DiffCDRWithoutDiffusion, DiffCDRWithoutTask
from training.models.base import TransferModel
from training.models.bias import Bias
from training.models.cmf import CMF
from training.models.configs import (
    BiasConfig,
    DiffCDRConfig,
    EMCDRConfig,
    GaussianDiffCDRConfig,
    MeanConfig,
    PopularConfig,
    TGTConfig,
)
from training.models.configs_baselines import CMFConfig, LACDRConfig, PTUPCDRConfig, RidgeConfig, SSCDRConfig
from training.models.configs_kinds import AnyDiffCDRConfig
from training.models.configs_robust import RobustDiffCDRConfig
from training.models.diffcdr import DiffCDR
from training.models.emcdr import EMCDR
from training.models.gaussian import GaussianDiffCDR
from training.models.lacdr import LACDR
from training.models.mean import Mean
from training.models.popular import Popular
from training.models.ptupcdr import PTUPCDR
from training.models.ridge import Ridge
from training.models.robust import RobustDiffCDR
from training.models.sscdr import SSCDR
from training.models.tgt import TGT


@dataclass(frozen=True)
class ModelEntry:
    """``model(config)`` makes an untrained model from settings of type ``config``.

    ``section``: the preset section with the settings, where it is not the one of the model's name.
    """

    model: Any
    config: type[BaseModel]
    section: str | None = None

    def create(self, config: BaseModel) -> TransferModel:
        """An untrained model."""
        made: TransferModel = self.model(config)
        return made


def make_diffcdr(config: AnyDiffCDRConfig) -> TransferModel:
    """DiffCDR in the form of its settings."""
    if isinstance(config, RobustDiffCDRConfig):
        return RobustDiffCDR(config)
    return GaussianDiffCDR(config) if isinstance(config, GaussianDiffCDRConfig) else DiffCDR(config)


def make_without_task(config: AnyDiffCDRConfig) -> TransferModel:
    """Ablation DA. Raises InputError in the closed form, which has its own way to leave the task out."""
    return DiffCDRWithoutTask(_network_form(config, DiffCDRWithoutTask.name))


def make_without_diffusion(config: AnyDiffCDRConfig) -> TransferModel:
    """Ablation AT. Raises InputError in the closed form."""
    return DiffCDRWithoutDiffusion(_network_form(config, DiffCDRWithoutDiffusion.name))


def _network_form(config: AnyDiffCDRConfig, name: str) -> DiffCDRConfig:
    if not isinstance(config, DiffCDRConfig):
        raise InputError(
            f"{name} leaves out a part of the trained network, and these settings are of the closed form; "
            "leave the model out, or set diffcdr.form=network and base.kind=mf"
        )
    return config


MODELS: Mapping[str, ModelEntry] = MappingProxyType(
    {
        "mean": ModelEntry(Mean, MeanConfig),
        "bias": ModelEntry(Bias, BiasConfig),
        "popular": ModelEntry(Popular, PopularConfig),
        "tgt": ModelEntry(TGT, TGTConfig),
        "ridge": ModelEntry(Ridge, RidgeConfig),
        "cmf": ModelEntry(CMF, CMFConfig),
        "emcdr": ModelEntry(EMCDR, EMCDRConfig),
        "sscdr": ModelEntry(SSCDR, SSCDRConfig),
        "lacdr": ModelEntry(LACDR, LACDRConfig),
        "ptupcdr": ModelEntry(PTUPCDR, PTUPCDRConfig),
        "diffcdr": ModelEntry(make_diffcdr, DiffCDRConfig),
        "diffcdr-da": ModelEntry(make_without_task, DiffCDRConfig, section="diffcdr"),
        "diffcdr-at": ModelEntry(make_without_diffusion, DiffCDRConfig, section="diffcdr"),
    }
)


def section_of(name: str) -> str:
    """The preset section with the settings of model ``name``, a key of ``MODELS``."""
    return MODELS[name].section or name
