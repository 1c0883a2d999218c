"""docs/reference/settings.md, from the models that parse the settings: each with its default and its range.

python -m scripts.settings_page           writes the page
python -m scripts.settings_page --check   ends with 1 where the page is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from scripts.reference.fields import field_texts
from service.settings import PREFIX, Settings
from training.base_models.config import ALSConfig, MFConfig
from training.config import SplitConfig, load_preset, preset_names
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.network.config import DiffCDRConfig
from training.models.registry import MODELS, section_of
from training.models.robust.config import RobustDiffCDRConfig

PAGE = Path("docs/reference/settings.md")
KINDS: dict[str, tuple[tuple[str, type[BaseModel]], ...]] = {
    "base": (('with `kind = "mf"`', MFConfig), ('with `kind = "als"`', ALSConfig)),
    "diffcdr": (
        ('with `form = "network"`', DiffCDRConfig),
        ('with `form = "gaussian"`', GaussianDiffCDRConfig),
        ('with `form = "blend"`', BlendDiffCDRConfig),
        ('with `form = "robust"`', RobustDiffCDRConfig),
    ),
}
BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
INTRODUCTION = """# Settings

Written by `python -m scripts.settings_page` from the models that settings are parsed by; a test compares them.

## The service

Environment variables of `diffcdr serve`, read once at the start. An empty variable counts as not set; options of
`diffcdr serve` win over variables. How to use them: [operations](../how-to/operations.md).

"""
TRAINING = """
## Training

A preset sets them by section; `--set section.key=value` sets one. Where a preset says nothing, the default holds.
Presets: {presets}.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _table(Settings, lambda name: f"{PREFIX}{name.upper()}")]
    parts.append(TRAINING.format(presets=", ".join(f"`{name}`" for name in preset_names())))
    for section, kind, model in sections():
        parts.append(f"\n### `[{section}]`{f' {kind}' if kind else ''}\n\n{_summary(model)}\n\n")
        parts.append(_table(model, lambda name, section=section: f"{section}.{name}"))
    return "".join(parts)


def sections() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Section, kind, and the model of its settings, in the order of the page."""
    yield "split", "", SplitConfig
    seen = {"split"}
    for section in ("base", *(section_of(name) for name in MODELS)):
        if section not in seen:
            seen.add(section)
            config = type(getattr(load_preset("reference"), section))
            for kind, model in KINDS.get(section, (("", config),)):
                if model.model_fields:
                    yield section, kind, model


def _summary(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split()).replace("``", "`")


def _table(model: type[BaseModel], name: Any) -> str:
    texts = field_texts(model)
    rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    for key, info in model.model_fields.items():
        meaning = texts.get(key, "").replace("``", "`")
        cells = (f"`{name(key)}`", _default(info), _values(info), meaning)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "required"
    value = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
    if value is None or value == "":
        return "not set"
    shown = list(value) if isinstance(value, tuple) else value
    return f"`{str(shown).lower() if isinstance(value, bool) else shown}`"


def _values(info: FieldInfo) -> str:
    bounds = [f"{sign} {getattr(one, key)}" for key, sign in BOUNDS for one in info.metadata if hasattr(one, key)]
    return ", ".join([_kind(info.annotation), *bounds])


def _kind(kind: Any) -> str:
    origin, arguments = get_origin(kind), [one for one in get_args(kind) if one is not NoneType]
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is Annotated:
        bounds = [f"{sign} {getattr(one, key)}" for meta in arguments[1:] for one in getattr(meta, "metadata", [meta])
                  for key, sign in BOUNDS if hasattr(one, key)]  # fmt: skip
        return ", ".join([_kind(arguments[0]), *bounds])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_kind, arguments)))
    if origin in (tuple, list):
        return f"list of {_kind(arguments[0])}"
    if kind is SecretStr:
        return "text, never shown"
    names = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    return names.get(kind, "path" if kind is Path else getattr(kind, "__name__", str(kind)))


def main(args: list[str]) -> int:
    """Write the page, or compare it; the exit code."""
    written = page()
    if "--check" in args:
        return int(PAGE.read_text(encoding="utf-8") != written)
    PAGE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
