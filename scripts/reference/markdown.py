"""Docstrings and values as Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

ROLE = re.compile(r":\w+:`(?:~[\w.]*\.)?([\w.]+)`")
NAMES = re.compile(r"^([\w, *]+):")
SECTION = re.compile(r"^(Args|Returns|Raises):$")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars within cells are escaped."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def prose(docstring: str) -> str:
    """A docstring as Markdown: roles and double backticks become code, sections lists, examples code blocks."""
    out: list[str] = []
    section = False
    for paragraph in inspect.cleandoc(docstring).split("\n\n"):
        first, _, rest = paragraph.partition("\n")
        if SECTION.match(first):
            section = True
            out.append(f"**{first}**\n\n{_entries(rest)}")
        elif paragraph.startswith(">>>"):
            out.append(f"```pycon\n{paragraph}\n```")
        elif paragraph.startswith("    ") and not section:
            out.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
        else:
            out.append(inline(paragraph))
    return "\n\n".join(out).replace("\n```\n\n```python\n", "\n\n")


def inline(text: str) -> str:
    """One paragraph, with code marked as Markdown does."""
    return ROLE.sub(r"`\1`", text).replace("``", "`")


def _entries(text: str) -> str:
    """``name: what it is`` lines, the indented ones below belonging to the one above, as a list."""
    entries: list[str] = []
    for line in textwrap.dedent(text).splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line)
    return "\n".join(f"- {NAMES.sub(_names, inline(entry))}" for entry in entries)


def _names(found: re.Match[str]) -> str:
    return ", ".join(f"`{name.strip()}`" for name in found[1].split(",")) + ":"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
