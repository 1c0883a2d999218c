"""The two walks of ``docs/architecture.md`` as pictures: the modules on the way, and what each imports.

Written by ``python -m scripts.rooms_page``. The order of a walk is told here; that its modules exist, and the rooms
below each, are read from the code. A test compares the pictures.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from scripts.rooms_page import ROOT, modules_of, room_of


@dataclass(frozen=True)
class Step:
    """A module on a walk, and what happens there."""

    module: str
    does: str


WALKS: dict[str, tuple[str, tuple[Step, ...]]] = {
    "walk-train.svg": (
        "ratings → bundle",
        (
            Step("training/commands/train.py", "options of the command line"),
            Step("training/train.py", "the library call: fit, measure, publish"),
            Step("training/run/prepare.py", "read, clean, pair, split; base models"),
            Step("training/run/tuning.py", "each model, over its grid of settings"),
            Step("training/run/fit.py", "one model; its figures, test users last"),
            Step("training/run/model_choice.py", "the best on validation users"),
            Step("training/run/finish.py", "warm start, fold-in, stored vectors"),
            Step("training/export/bundle.py", "map or graph, compared; tables"),
            Step("diffcdr/bundle/writer.py", "hashes, manifest, one rename"),
        ),
    ),
    "walk-serve.svg": (
        "user id → items",
        (
            Step("service/process/connection.py", "bytes of one connection"),
            Step("service/edge/middleware.py", "host, key, rate, room; problems, metrics"),
            Step("service/routes/lists/recommendations.py", "the request becomes a query"),
            Step("service/state/suppression.py", "did the user opt out?"),
            Step("service/engine/batcher.py", "queries of many requests together"),
            Step("diffcdr/recommend/recommender.py", "whose vector, which strategy"),
            Step("diffcdr/recommend/transfer.py", "source vectors become target vectors"),
            Step("diffcdr/search/topk.py", "the k best items, exactly"),
            Step("service/bodies/responses.py", "JSON, written once"),
        ),
    ),
}
COLUMNS, WIDE, HIGH, GAP, MARGIN, HEAD = 3, 300, 126, 40, 20, 44
LETTERS = 46
"""Letters of the small type that one line of a box holds."""
STYLE = """
  .box { fill: #ffffff; stroke: #0969da; stroke-width: 1.4; }
  .room { font-size: 11.5px; fill: #57606a; }
  .name { font-size: 15px; font-weight: 600; fill: #1f2328; }
  .does { font-size: 12.5px; fill: #1f2328; }
  .uses { font-size: 11px; fill: #57606a; }
  .title { font-size: 15px; font-weight: 600; fill: #57606a; }
  .arrow { stroke: #57606a; stroke-width: 1.6; fill: none; marker-end: url(#head); }
"""


def rooms_below(module: str) -> list[str]:
    """The rooms that a module imports from: not its own, nor a package's ground floor; its own package unnamed."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    found = {str(room_of(name)) for name in modules_of(tree)} - {"None", Path(module).parent.as_posix()}
    package = module.partition("/")[0]
    return sorted(room.removeprefix(f"{package}/") for room in found if "/" in room)


def uses(module: str) -> list[str]:
    """What a box says of its module's imports, by line."""
    return textwrap.wrap(f"imports {', '.join(rooms_below(module)) or 'no other room'}", LETTERS)


def picture(name: str) -> str:
    """The SVG of a walk."""
    title, steps = WALKS[name]
    rows = -(-len(steps) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * WIDE + (COLUMNS - 1) * GAP
    height = MARGIN + HEAD + rows * HIGH + (rows - 1) * GAP
    label = f"{title}: {', '.join(Path(step.module).stem for step in steps)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, -apple-system, \'Segoe UI\', sans-serif" aria-label="{escape(label)}">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#f6f8fa" rx="10"/>',
        f'<text class="title" x="{MARGIN}" y="29">{escape(title)}</text>',
    ]
    corners = [_corner(place) for place in range(len(steps))]
    for (x, y), (after_x, after_y) in zip(corners, corners[1:], strict=False):
        parts.append(f'<path class="arrow" d="{_way(x, y, after_x, after_y)}"/>')
    for step, (x, y) in zip(steps, corners, strict=True):
        parts += _box(step, x, y)
    return "\n".join([*parts, "</svg>\n"])


def _corner(place: int) -> tuple[int, int]:
    row, column = divmod(place, COLUMNS)
    return MARGIN + column * (WIDE + GAP), HEAD + row * (HIGH + GAP)


def _way(x: int, y: int, after_x: int, after_y: int) -> str:
    if y == after_y:
        return f"M{x + WIDE} {y + HIGH // 2} H{after_x - 4}"
    between = y + HIGH + GAP // 2
    return f"M{x + WIDE // 2} {y + HIGH} V{between} H{after_x + WIDE // 2} V{after_y - 4}"


def _box(step: Step, x: int, y: int) -> list[str]:
    room, _, name = step.module.rpartition("/")
    lines = [("room", f"{room}/", 22), ("name", name, 41), ("does", step.does, 62)]
    lines += [("uses", text, 84 + 15 * place) for place, text in enumerate(uses(step.module))]
    return [
        f'<rect class="box" x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="6"/>',
        *(f'<text class="{kind}" x="{x + 12}" y="{y + down}">{escape(text)}</text>' for kind, text, down in lines),
    ]
