"""``diffcdr COMMAND --help``: options in groups by purpose, each with its whole text.

A table of options leaves twenty letters a line for the text of each in a window of 80 columns, and cuts examples.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from typer.core import TyperCommand

from diffcdr.terminal import as_shown

F = TypeVar("F", bound=Callable[..., Any])

GROUPS = "help_groups"
OTHER = "Options"
"""The group of options that belong to no other; it comes last."""
METAVARS = {"str": "TEXT", "path": "PATH", "int": "N", "float": "NUMBER"}
"""How kinds of values are shown."""
NOT_FOR_USERS = ("Args:", "Returns:", "Raises:")
"""Sections of a docstring that speak to who calls the function."""


def help_groups(groups: Mapping[str, tuple[str, ...]]) -> Callable[[F], F]:
    """Group the options of a command in its help: names of parameters by the title that they stand under."""

    def mark(function: F) -> F:
        setattr(function, GROUPS, groups)
        return function

    return mark


class GroupedHelp(TyperCommand):
    """A command whose help is a list: an option's names on one line, what it does below."""

    def get_help(self, ctx: Any) -> str:
        """The whole help."""
        return as_shown(super().get_help(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help to ``formatter``."""
        self.format_usage(ctx, formatter)
        for paragraph in (self.help or "").split("\n\n"):
            if not paragraph.strip().startswith(NOT_FOR_USERS):
                formatter.write(f"\n{_wrapped(paragraph, formatter.width)}\n")
        for title, entries in self.entries(ctx).items():
            if entries:
                shown = "".join(f"  {names}\n{_wrapped(text, formatter.width, indent=6)}\n" for names, text in entries)
                formatter.write(f"\n{title}:\n{shown}")

    def entries(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """By title of its group: each option's names and what it does."""
        groups: Mapping[str, tuple[str, ...]] = getattr(self.callback, GROUPS, {})
        titles = {name: title for title, names in groups.items() for name in names}
        texts: dict[str, list[tuple[str, str]]] = {title: [] for title in (*groups, OTHER)}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                names, text = record
                texts[titles.get(str(param.name), OTHER)].append((_metavar(names), text))
        return texts


def _wrapped(text: str, width: int, *, indent: int = 0) -> str:
    # Names of options and examples have hyphens, and stay whole.
    lines = textwrap.wrap(" ".join(text.split()), width - indent, break_on_hyphens=False, break_long_words=False)
    return textwrap.indent("\n".join(lines), " " * indent)


def _metavar(names: str) -> str:
    return re.sub(r"<(\w+)(?: range)?>", lambda kind: METAVARS.get(kind[1], kind[0]), names)
