"""Sections of settings that come in several kinds, each told by one setting of its own."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag

from training.models.closed_form.config import RobustDiffCDRConfig
from training.setting_types import ALSConfig, DiffCDRConfig, GaussianDiffCDRConfig, MFConfig

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
    | Annotated[RobustDiffCDRConfig, Tag("robust")],
    _kind_of("diffcdr", "network"),
]
