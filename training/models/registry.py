"""Every model by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, Discriminator, Tag

from diffcdr.errors import DiffCDRError, InputError
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
from training.models.discussed.cdrib import CDRIB, CDRIBConfig
from training.models.discussed.dcdcsr import DCDCSR, DCDCSRConfig
from training.models.discussed.ldiffrec import LDiffRec, LDiffRecConfig
from training.models.discussed.mwuf import MWUF, MWUFConfig
from training.models.discussed.savae import SAVAE, SAVAEConfig
from training.models.discussed.vdea import VDEA, VDEAConfig
from training.models.interactions.dual_ridge import DualRidge, DualRidgeConfig
from training.models.interactions.ease import EASE, EASEConfig
from training.models.interactions.gfcf import GFCF, GFCFConfig
from training.models.interactions.itemknn import ItemKNN, ItemKNNConfig
from training.models.interactions.joint_als import JointALS, JointALSConfig
from training.models.interactions.slim import SLIM, SLIMConfig
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

    def kind(settings: object) -> str:
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
    """``create(settings)`` makes an untrained model; ``config`` is the type of its settings, or of their first kind.

    ``section``: the preset section with the settings, where it is not the one of the model's name.
    """

    create: Callable[[BaseModel], TransferModel]
    config: type[BaseModel]
    section: str | None = None


C = TypeVar("C", bound=BaseModel)


def _entry(model: Callable[[C], TransferModel], config: type[C]) -> ModelEntry:
    """The entry of a model whose settings are of one kind."""

    def create(settings: BaseModel) -> TransferModel:
        if not isinstance(settings, config):
            raise DiffCDRError(f"this model is made from {config.__name__}, not from {type(settings).__name__}")
        return model(settings)

    return ModelEntry(create, config)


def _diffcdr_entry(make: Callable[[AnyDiffCDRConfig], TransferModel], *, section: str | None = None) -> ModelEntry:
    """The entry of DiffCDR or of an ablation: its settings come in several kinds."""

    def create(settings: BaseModel) -> TransferModel:
        if not isinstance(settings, DiffCDRConfig | GaussianDiffCDRConfig | BlendDiffCDRConfig | RobustDiffCDRConfig):
            raise DiffCDRError(f"DiffCDR is made from its own settings, not from {type(settings).__name__}")
        return make(settings)

    return ModelEntry(create, DiffCDRConfig, section)


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
        "mean": _entry(Mean, MeanConfig),
        "bias": _entry(Bias, BiasConfig),
        "popular": _entry(Popular, PopularConfig),
        "tgt": _entry(TGT, TGTConfig),
        "ridge": _entry(Ridge, RidgeConfig),
        "cmf": _entry(CMF, CMFConfig),
        "emcdr": _entry(EMCDR, EMCDRConfig),
        "sscdr": _entry(SSCDR, SSCDRConfig),
        "lacdr": _entry(LACDR, LACDRConfig),
        "ptupcdr": _entry(PTUPCDR, PTUPCDRConfig),
        "tmcdr": _entry(TMCDR, TMCDRConfig),
        "dcdcsr": _entry(DCDCSR, DCDCSRConfig),
        "mwuf": _entry(MWUF, MWUFConfig),
        "ldiffrec": _entry(LDiffRec, LDiffRecConfig),
        "savae": _entry(SAVAE, SAVAEConfig),
        "cdrib": _entry(CDRIB, CDRIBConfig),
        "vdea": _entry(VDEA, VDEAConfig),
        "itemknn": _entry(ItemKNN, ItemKNNConfig),
        "dual_ridge": _entry(DualRidge, DualRidgeConfig),
        "ease": _entry(EASE, EASEConfig),
        "joint_als": _entry(JointALS, JointALSConfig),
        "userknn": _entry(UserKNN, UserKNNConfig),
        "gfcf": _entry(GFCF, GFCFConfig),
        "slim": _entry(SLIM, SLIMConfig),
        "diffcdr": _diffcdr_entry(make_diffcdr),
        "diffcdr-da": _diffcdr_entry(make_without_task, section="diffcdr"),
        "diffcdr-at": _diffcdr_entry(make_without_diffusion, section="diffcdr"),
        "diffcdr-at-task": _diffcdr_entry(make_task_alone, section="diffcdr"),
    }
)


def section_of(name: str) -> str:
    """The preset section with the settings of model ``name``, a key of ``MODELS``."""
    return MODELS[name].section or name
