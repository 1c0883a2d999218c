"""The map of rooms in ``docs/architecture.md``: folders with what their ``__init__.py`` says, and what they import.

    python -m scripts.rooms_page

A test compares the page with the code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms -->\n", "<!-- end of rooms -->"
PACKAGES = ("diffcdr", "service", "training", "bench")


def rooms() -> dict[str, str]:
    """Every folder of the packages that is a room, with the first sentences of its ``__init__.py``."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("__init__.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.parent.relative_to(ROOT).as_posix()] = " ".join(text.split("\n\n")[0].split())
    return found


def imports() -> dict[str, set[str]]:
    """Which rooms a room imports from, of the same package and not its own folders."""
    places = rooms()
    found: dict[str, set[str]] = {room: set() for room in places}
    for room in places:
        for path in (ROOT / room).glob("*.py"):
            for module in modules_of(ast.parse(path.read_text(encoding="utf-8"))):
                other = room_of(module)
                if other is not None and other != room:
                    found[room].add(other)
    return found


def table() -> str:
    """A row a room: files, what it holds, what it imports from its own package."""
    lines = ["| room | files | what lives there | imports from |", "|---|---|---|---|"]
    used = imports()
    for room, text in rooms().items():
        package = room.split("/")[0]
        count = len([path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"])
        names = sorted(_short(other, package) for other in used[room] if other.split("/")[0] == package)
        lines.append(f"| `{room}/` | {count} | {text} | {', '.join(names) or '–'} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """``text`` with the map made again."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write the page and its pictures."""
    from scripts.walk_pictures import WALKS, picture  # noqa: PLC0415 - reads imports as this module does

    for name in WALKS:
        (PAGE.parent / name).write_text(picture(name), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _short(room: str, package: str) -> str:
    return room.removeprefix(f"{package}/") if room != package else f"{package} (its own files)"


def modules_of(tree: ast.Module) -> set[str]:
    """Names of our modules, and of what is in them, that a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if re.match(rf"({'|'.join(PACKAGES)})\.", module)}


def room_of(module: str) -> str | None:
    """The folder of a module; None where that is no module."""
    path = ROOT / Path(*module.split("."))
    if not path.with_suffix(".py").is_file():
        return None
    return path.parent.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    main()
