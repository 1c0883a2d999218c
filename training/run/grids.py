"""Grids of settings to choose from on the validation users: the paper's, or the user's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from diffcdr.errors import InputError
from training.base_models.config import MFConfig
from training.config import TrainConfig, load_preset
from training.models.network.config import DiffCDRConfig
from training.models.registry import MODELS, section_of

Values = tuple[Any, ...]

PAPER: Final[Mapping[str, Mapping[str, Values]]] = MappingProxyType(
    {
        "diffcdr": MappingProxyType(
            {
                "task_weight": (0.01, 0.1, 1.0, 2.0, 4.0, 8.0),
                "guidance_scale": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            }
        )
    }
)
"""[section][setting]: lambda of Eq. 7 and s of Eq. 3 (paper, section 4.1.4). It names no grid of another model."""

SAMPLING: Final = frozenset({"guidance_scale"})
"""Settings of the trained DiffCDR network that only its sampling reads: tried on one training, without another."""

WITHOUT_EFFECT: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "diffcdr-da": frozenset({"task_weight"}),
        "diffcdr-at": frozenset({"guidance_scale"}),
        "diffcdr-at-task": frozenset({"guidance_scale", "task_weight"}),
    }
)
"""Settings of their section that the ablations leave out: nothing to choose there."""


@dataclass(frozen=True)
class SettingGrids:
    """``sections[section][setting]``: the values to try; every combination of one section's is tried."""

    sections: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)

    def of_model(self, name: str) -> dict[str, Values]:
        """The grids that apply to model ``name``, a key of ``MODELS``."""
        without = WITHOUT_EFFECT.get(name, frozenset())
        return {key: values for key, values in self.sections.get(section_of(name), {}).items() if key not in without}

    def as_dict(self) -> dict[str, dict[str, list[Any]]]:
        """As JSON values, to tell experiments apart."""
        return {
            section: {key: list(values) for key, values in grids.items()} for section, grids in self.sections.items()
        }

    def cost(self, names: Sequence[str]) -> list[str]:
        """The cost of trying all values: one sentence per model of ``names`` with a grid."""
        sentences = []
        for name in names:
            grids = self.of_model(name)
            if grids:
                trainings = math.prod(len(values) for key, values in grids.items() if key not in SAMPLING)
                candidates = math.prod(len(values) for values in grids.values())
                sentences.append(
                    f"{name}: {candidates} combinations of {' and '.join(grids)}, {trainings} "
                    f"training{'s' if trainings > 1 else ''}; chosen on validation users"
                )
        return sentences


def combinations(grids: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Every combination, the last setting changing fastest; one without settings where there are no grids."""
    return [dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())]


def criterion(config: TrainConfig, name: str) -> str:
    """The validation metric that model ``name`` is chosen by: that of its epochs, else NDCG@20."""
    select_by = getattr(getattr(config, section_of(name)), "select_by", None)
    if isinstance(config.base, MFConfig) and config.base.negatives:
        return "ndcg@20"
    return "ndcg@20" if select_by is None else f"{select_by}_clipped"


def parse_grids(
    preset: str, overrides: Sequence[str], *, paper: bool, own: Sequence[str], models: Sequence[str]
) -> SettingGrids:
    """The grids of a command: the paper's if ``paper``, and of ``own`` (``section.key=V1,V2``), which take precedence.

    Args:
        preset: the preset that the values are settings of.
        overrides: the settings (``section.key=value``) given beside it.
        paper: try the paper's grids.
        own: other grids.
        models: names of the models of the command.

    Raises:
        InputError: a setting or value does not exist, or no model of the command has it.
    """
    config = load_preset(preset, overrides)
    sections: dict[str, dict[str, Values]] = {}
    if paper:
        sections = {section: dict(grids) for section, grids in PAPER.items()}
        if not isinstance(config.diffcdr, DiffCDRConfig):
            raise InputError(
                f"--grid tries the paper's values of the trained network, and preset {preset} has DiffCDR in closed "
                "form, which chooses from lists of its own; leave --grid out, or take --preset paper or reference"
            )
    for text in own:
        section, key, values = _parse_own(text, preset, overrides)
        sections.setdefault(section, {})[key] = values
    chosen = SettingGrids(sections)
    for section in sections:
        if not any(section_of(name) == section and chosen.of_model(name) for name in models):
            raise InputError(
                f"the grid is of settings of {section}, and no model of this command has them to choose; "
                f"add the model, or leave the grid out (the models are {', '.join(models)})"
            )
    return chosen


def _parse_own(text: str, preset: str, overrides: Sequence[str]) -> tuple[str, str, Values]:
    path, equals, listed = text.partition("=")
    section, dot, key = path.strip().partition(".")
    parts = [part.strip() for part in listed.split(",")]
    if not equals or not dot or not all(parts):
        raise InputError(
            f"cannot read the grid {text!r}; write it as section.key=value,value, such as diffcdr.task_weight=0.01,0.1"
        )
    values = []
    for part in parts:
        # The settings' own reading, so that what is tried is what --set would set, and mistakes are told alike.
        values.append(getattr(getattr(load_preset(preset, [*overrides, f"{path}={part}"]), section), key))
    if section not in {section_of(name) for name in MODELS}:
        raise InputError(f"{path.strip()} is no setting of a model, and grids are of models' settings; use --set")
    if section == "diffcdr" and key == "form":
        raise InputError("diffcdr.form is another method each time; train them separately, with --set diffcdr.form=…")
    return section, key, tuple(dict.fromkeys(values))
