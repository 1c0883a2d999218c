"""The settings of a training run: a preset, and what overrides it.

A preset is a TOML file in ``training/presets``, one section for the split, one for the base models and one for each
model. An override names a setting by its dotted path: ``diffcdr.nfe=10``. Everything is checked before any work
begins, and what does not exist is answered with the nearest name that does.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from types import NoneType
from typing import Any, Literal, TypedDict, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffcdr.errors import InputError
from training.base_models.config import MFConfig
from training.models.baselines.bias import BiasConfig
from training.models.baselines.cmf import CMFConfig
from training.models.baselines.emcdr import EMCDRConfig
from training.models.baselines.lacdr import LACDRConfig
from training.models.baselines.mean import MeanConfig
from training.models.baselines.popular import PopularConfig
from training.models.baselines.ptupcdr import PTUPCDRConfig
from training.models.baselines.ridge import RidgeConfig
from training.models.baselines.sscdr import SSCDRConfig
from training.models.baselines.tgt import TGTConfig
from training.models.baselines.tmcdr import TMCDRConfig
from training.models.discussed.cdrib import CDRIBConfig
from training.models.discussed.dcdcsr import DCDCSRConfig
from training.models.discussed.ldiffrec import LDiffRecConfig
from training.models.discussed.mwuf import MWUFConfig
from training.models.discussed.savae import SAVAEConfig
from training.models.discussed.vdea import VDEAConfig
from training.models.interactions.dual_ridge import DualRidgeConfig
from training.models.interactions.ease import EASEConfig
from training.models.interactions.gfcf import GFCFConfig
from training.models.interactions.itemknn import ItemKNNConfig
from training.models.interactions.joint_als import JointALSConfig
from training.models.interactions.slim import SLIMConfig
from training.models.interactions.userknn import UserKNNConfig
from training.models.network.config import DiffCDRConfig
from training.models.registry import KINDS, AnyDiffCDRConfig, BaseConfig


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shares(TypedDict):
    """Arguments of :func:`training.data.splits.split_overlap`."""

    test_fraction: float
    validation_fraction: float
    min_validation_users: int


class SplitConfig(_Frozen):
    """How ratings are divided into those to learn from and those to measure on, section ``[split]``."""

    by: Literal["user", "time"] = "user"
    """``user``: hold out the target ratings of some overlap users. ``time``: learn from what was rated up to a moment,
    and measure on users who come to the target after it."""
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    """beta: share of the overlap users held out for the one final evaluation; by time, of the target ratings."""
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the remaining overlap users held out for every choice made on the way."""
    min_validation_users: int = Field(default=0, ge=0)
    """Where that share is fewer users than this, so many are held out for choices, but no more than a quarter."""

    def shares(self) -> Shares:
        """The arguments that every way to divide takes."""
        return Shares(
            test_fraction=self.test_fraction,
            validation_fraction=self.validation_fraction,
            min_validation_users=self.min_validation_users,
        )

    def by_user(self) -> Shares:
        """The same, for tables, which are split by user. Raises InputError for a split by time."""
        if self.by != "user":
            raise InputError("prepared tables are split by user; give --source and --target to split by time")
        return self.shares()


class TrainConfig(_Frozen):
    """Every setting of a training run, by section."""

    split: SplitConfig = SplitConfig()
    base: BaseConfig = MFConfig()
    """Both domains' base models."""
    mean: MeanConfig = MeanConfig()
    bias: BiasConfig = BiasConfig()
    popular: PopularConfig = PopularConfig()
    tgt: TGTConfig = TGTConfig()
    ridge: RidgeConfig = RidgeConfig()
    cmf: CMFConfig = CMFConfig()
    emcdr: EMCDRConfig = EMCDRConfig()
    sscdr: SSCDRConfig = SSCDRConfig()
    lacdr: LACDRConfig = LACDRConfig()
    ptupcdr: PTUPCDRConfig = PTUPCDRConfig()
    tmcdr: TMCDRConfig = TMCDRConfig()
    dcdcsr: DCDCSRConfig = DCDCSRConfig()
    mwuf: MWUFConfig = MWUFConfig()
    ldiffrec: LDiffRecConfig = LDiffRecConfig()
    savae: SAVAEConfig = SAVAEConfig()
    cdrib: CDRIBConfig = CDRIBConfig()
    vdea: VDEAConfig = VDEAConfig()
    itemknn: ItemKNNConfig = ItemKNNConfig()
    dual_ridge: DualRidgeConfig = DualRidgeConfig()
    ease: EASEConfig = EASEConfig()
    joint_als: JointALSConfig = JointALSConfig()
    userknn: UserKNNConfig = UserKNNConfig()
    gfcf: GFCFConfig = GFCFConfig()
    slim: SLIMConfig = SLIMConfig()
    diffcdr: AnyDiffCDRConfig = DiffCDRConfig()


def preset_names() -> list[str]:
    """All presets, sorted."""
    folder = resources.files("training") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_preset(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The settings of preset ``name``, with ``overrides`` (``section.key=value``) applied in order.

    A value is read as TOML (``10``, ``0.5``, ``true``, ``[0.1, 0.2]``); anything else is taken as text, so that
    ``diffcdr.activation=silu`` needs no quotes. ``none`` unsets a setting that can be unset. Another kind of section
    (``base.kind=als``, ``diffcdr.form=gaussian``) starts from that kind's defaults.

    Raises:
        InputError: no such preset, section or key (the message has the nearest), or a value of the wrong kind.
    """
    known = preset_names()
    if name not in known:
        raise InputError(f"there is no preset {name!r}{nearest(name, known)}; presets are: {', '.join(known)}")
    text = (resources.files("training") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    settings: dict[str, dict[str, Any]] = tomllib.loads(text)
    for override in overrides:
        section, key, value = _parse(override, settings)
        if KINDS.get(section) == key and value != _current_kind(section, settings):
            settings[section] = {}
        settings.setdefault(section, {})[key] = value
    try:
        # By way of JSON: there, strict checking refuses "3" or true for a number, and still takes a list for a tuple.
        return TrainConfig.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        # What pydantic names of a section's kind or of a union's member is no part of the setting's path.
        path = first["loc"]
        names = {path[0], *(key for kind in _kinds(str(path[0])).values() for key in kind.model_fields)}
        where = ".".join(str(part) for part in path if part in names or isinstance(part, int))
        reason = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise InputError(f"setting {where}={first['input']} cannot be used: it {reason}") from error


def _parse(override: str, settings: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, Any]:
    """``section.key=value`` -> its three parts, the names checked against the section as it is in ``settings``."""
    path, equals, text = override.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot:
        raise InputError(f"cannot read the setting {override!r}; write it as section.key=value, such as diffcdr.nfe=10")
    sections = TrainConfig.model_fields
    if section not in sections:
        raise InputError(
            f"there is no section {section!r} in {override!r}{nearest(section, sections)}; "
            f"sections are: {', '.join(sections)}"
        )
    kinds = _kinds(section)
    fields = kinds[_current_kind(section, settings)].model_fields
    if key not in fields:
        have = f"settings of [{section}] are: {', '.join(fields)}" if fields else f"[{section}] has no settings"
        raise InputError(f"there is no setting {section}.{key}{nearest(key, fields)}; {have}")
    if KINDS.get(section) == key and text.strip() not in kinds:
        raise InputError(
            f"setting {section}.{key}={text.strip()} cannot be used{nearest(text.strip(), kinds)}; "
            f"there are: {', '.join(kinds)}"
        )
    if text.strip() == "none" and NoneType in get_args(fields[key].annotation):
        return section, key, None
    return section, key, _value(text.strip())


def _kinds(section: str) -> dict[str, type[BaseModel]]:
    """The kinds a section comes in, the default first; one without a name for most."""
    annotation = TrainConfig.model_fields[section].annotation
    if section not in KINDS:
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        return {"": annotation}
    # Each member of the union is Annotated[its type, Tag(its name)].
    members = [get_args(member) for member in get_args(annotation)]
    return {tag.tag: kind for kind, tag in members}


def _current_kind(section: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
    default = next(iter(_kinds(section)))
    return str(settings.get(section, {}).get(KINDS[section], default)) if section in KINDS else default


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A date, more than one value, or inf and nan: as text they are refused where a number is wanted.
    plain = isinstance(value["value"], (bool, int, float, str, list)) and len(value) == 1
    finite = not isinstance(value["value"], float) or math.isfinite(value["value"])
    return value["value"] if plain and finite else text


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean '…'?)`` with the name of ``known`` that is most like ``name``; empty where none is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
