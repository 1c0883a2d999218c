"""Every model by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BaseModel, Discriminator, Tag

from diffcdr.errors import InputError
from training.base_models.config import ALSConfig, MFConfig
from training.models.baselines.bias import Bias, BiasConfig
from training.models.baselines.cmf import CMF, CMFConfig
from training.models.baselines.emcdr import EMCDR, EMCDRConfig
from training.models.baselines.lacdr import LACDR, LACDRConfig
from training.models.baselines.mean import Mean, MeanConfig
from training.models.baselines.popular import Popular, PopularConfig
from training.models.baselines.ptupcdr import PTUPCDR, PTUPCDRConfig
from training.models.baselines.ridge import Ridge, RidgeConfig
from training.models.baselines.sscdr import SSCDR, SSCDRConfig
from training.models.baselines.tgt import TGT, TGTConfig
from training.models.baselines.tmcdr import TMCDR, TMCDRConfig
from training.models.closed_form.blend import BlendDiffCDR
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.closed_form.gaussian import GaussianDiffCDR
from training.models.contract import TransferModel
from training.models.interactions.dual_ridge import DualRidge, DualRidgeConfig
from training.models.interactions.ease import EASE, EASEConfig
from training.models.interactions.gfcf import GFCF, GFCFConfig
from training.models.interactions.itemknn import ItemKNN, ItemKNNConfig
from training.models.interactions.joint_als import JointALS, JointALSConfig
from training.models.interactions.userknn import UserKNN, UserKNNConfig
from training.models.network.ablations import DiffCDRTaskAlone, DiffCDRWithoutDiffusion, DiffCDRWithoutTask
from training.models.network.config import DiffCDRConfig
from training.models.network.model import DiffCDR
from training.models.robust.config import RobustDiffCDRConfig
from training.models.robust.model import RobustDiffCDR

KINDS: Final = {"base": "kind", "diffcdr": "form"}
"""Sections that come in several kinds, and the setting that tells them apart; its default is the first kind's."""


def _kind_of(section: str, default: str) -> Discriminator:
    key = KINDS[section]

    def kind(settings: Any) -> str:
        # None for what is no kind of ours: pydantic then lists those there are.
        found = settings.get(key, default) if isinstance(settings, dict) else getattr(settings, key, default)
        return found if isinstance(found, str) else ""

    return Discriminator(kind)


BaseConfig = Annotated[
    Annotated[MFConfig, Tag("mf")] | Annotated[ALSConfig, Tag("als")],
    _kind_of("base", "mf"),
]


AnyDiffCDRConfig = Annotated[
    Annotated[DiffCDRConfig, Tag("network")]
    | Annotated[GaussianDiffCDRConfig, Tag("gaussian")]
    | Annotated[BlendDiffCDRConfig, Tag("blend")]
    | Annotated[RobustDiffCDRConfig, Tag("robust")],
    _kind_of("diffcdr", "network"),
]


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
    if isinstance(config, BlendDiffCDRConfig):
        return BlendDiffCDR(config)
    return GaussianDiffCDR(config) if isinstance(config, GaussianDiffCDRConfig) else DiffCDR(config)


def make_without_task(config: AnyDiffCDRConfig) -> TransferModel:
    """Ablation DA. Raises InputError in the closed form, which has its own way to leave the task out."""
    return DiffCDRWithoutTask(_network_form(config, DiffCDRWithoutTask.name))


def make_without_diffusion(config: AnyDiffCDRConfig) -> TransferModel:
    """Ablation AT. Raises InputError in the closed form."""
    return DiffCDRWithoutDiffusion(_network_form(config, DiffCDRWithoutDiffusion.name))


def make_task_alone(config: AnyDiffCDRConfig) -> TransferModel:
    """Ablation AT by the task loss alone. Raises InputError in the closed form."""
    return DiffCDRTaskAlone(_network_form(config, DiffCDRTaskAlone.name))


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
        "tmcdr": ModelEntry(TMCDR, TMCDRConfig),
        "itemknn": ModelEntry(ItemKNN, ItemKNNConfig),
        "dual_ridge": ModelEntry(DualRidge, DualRidgeConfig),
        "ease": ModelEntry(EASE, EASEConfig),
        "joint_als": ModelEntry(JointALS, JointALSConfig),
        "userknn": ModelEntry(UserKNN, UserKNNConfig),
        "gfcf": ModelEntry(GFCF, GFCFConfig),
        "diffcdr": ModelEntry(make_diffcdr, DiffCDRConfig),
        "diffcdr-da": ModelEntry(make_without_task, DiffCDRConfig, section="diffcdr"),
        "diffcdr-at": ModelEntry(make_without_diffusion, DiffCDRConfig, section="diffcdr"),
        "diffcdr-at-task": ModelEntry(make_task_alone, DiffCDRConfig, section="diffcdr"),
    }
)


def section_of(name: str) -> str:
    """The preset section with the settings of model ``name``, a key of ``MODELS``."""
    return MODELS[name].section or name
