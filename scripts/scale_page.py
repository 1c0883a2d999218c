"""The tables of ``docs/how-to/scale.md``, from measured figures: lines of ``diffcdr bench NAME --json``.

    for name in prepare base score ann serve scale; do diffcdr bench $name --json; done >docs/scale/figures.jsonl
    python -m scripts.scale_page

Rates between two measured sizes, and beyond the last one, follow the straight line through the two nearest in
logarithms of size and rate; what lies beyond the measured sizes is marked with ``~``.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "scale" / "figures.jsonl"
PAGE = ROOT / "docs" / "how-to" / "scale.md"

DIM, WIDE_DIM = 10, 64
ID_BYTES = 12
"""Of a user or an item; an id table has the longest's width for all."""
RATINGS_A_USER = 40
"""In both domains together."""
EPOCHS = 10
EPOCH_RATINGS = 8_900_000
"""Of the epoch that the bench ``base`` measures."""
SCORED_ITEMS = (64_443, 1_000_000)
SPARK_RATINGS = 10**7
"""The largest size of the bench ``scale``."""
USERS = (10**6, 10**8, 10**9)
ITEMS = (10**5, 10**6, 10**7, 10**8)
REQUESTS = (10_000, 1_000_000)
LOAD = 0.5
"""Share of its most that a replica is given: what p99 is measured at."""
SPARE = 1.25
"""Replicas for when one in five is away."""


@dataclass(frozen=True)
class Line:
    """One line of a bench."""

    bench: str
    case: str
    ours: float
    baseline: float


@dataclass(frozen=True)
class Curve:
    """Measured (size, rate) points, by size."""

    points: tuple[tuple[float, float], ...]

    def at(self, size: float) -> float:
        """The rate at ``size``."""
        sizes = [point[0] for point in self.points]
        right = min(max(sum(each < size for each in sizes), 1), len(sizes) - 1)
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        slope = math.log(y1 / y0) / math.log(x1 / x0)
        return float(y1 * (size / x1) ** slope)

    def mark(self, size: float) -> str:
        """``~`` where ``size`` was not measured and lies beyond what was."""
        return "~" if size > 1.1 * self.points[-1][0] else ""


@dataclass(frozen=True)
class Figures:
    """What the tables are made of."""

    lines: Sequence[Line]

    @classmethod
    def read(cls, path: Path) -> Figures:
        """From lines of JSON. Raises InputError where they cannot be read."""
        try:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
            return cls([Line(each["bench"], each["case"], each["ours"], each["baseline"]) for each in found])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"cannot read figures from {path}: {error}; it takes `diffcdr bench NAME --json`"
            ) from error

    def one(self, bench: str, pattern: str) -> float:
        """``ours`` of the last line of ``bench`` whose case begins with ``pattern``. Raises InputError without one."""
        found = [line.ours for line in self.lines if line.bench == bench and re.match(pattern, line.case)]
        if not found:
            raise InputError(f"there is no figure of `diffcdr bench {bench}` like {pattern!r}; measure it again")
        return found[-1]

    def curve(self, bench: str, pattern: str, value: Callable[[Line], float] = lambda line: line.ours) -> Curve:
        """Rates over the number in the first group of ``pattern``. Raises InputError where fewer than two are there."""
        points = {
            float(match[1].replace(",", "")): value(line)
            for line in self.lines
            if line.bench == bench and (match := re.match(pattern, line.case))
        }
        if len(points) < 2:
            raise InputError(f"`diffcdr bench {bench}` gave fewer than two figures like {pattern!r}; measure it again")
        return Curve(tuple(sorted(points.items())))


def users_table(figures: Figures) -> str:
    """Memory and hours by number of users."""
    prepare = figures.curve("prepare", r"([\d,]+) ratings")
    epoch = figures.one("base", f"seconds of an epoch of {EPOCH_RATINGS:,} ratings")
    rate = figures.curve("score", r"[\d,]+ users, top 20 of ([\d,]+) x 10")
    head = ["users", "ratings", "source vectors", "prepare", f"{EPOCHS} epochs of both base models"]
    rows = []
    for users in USERS:
        ratings = users * RATINGS_A_USER
        rows.append(
            [
                _count(users),
                _count(ratings),
                _bytes(users * (4 * DIM + ID_BYTES)),
                _hours(ratings / prepare.points[-1][1]),
                _hours(EPOCHS * epoch * ratings / EPOCH_RATINGS),
                *(rate.mark(items) + _hours(users / rate.at(items)) for items in SCORED_ITEMS),
            ]
        )
    return _table([*head, *(f"score all, {items:,} items" for items in SCORED_ITEMS)], rows)


def spark_table(figures: Figures) -> str:
    """Time of one executor by number of users: half the rate of two at the largest size measured."""
    prepare, als, score = (
        figures.one("scale", f"{stage}, {SPARK_RATINGS:,} ratings, two executors") / 2
        for stage in ("prepare", "als", "score")
    )
    rows = []
    for users in USERS:
        ratings = users * RATINGS_A_USER
        hours = (ratings / prepare, ratings / als, users / score)
        rows.append([_count(users), _count(ratings), *(f"~{_hours(each)}" for each in hours)])
    return _table(["users", "ratings", "prepare", "ALS of both domains", "score all, 20,000 items"], rows)


def items_table(figures: Figures) -> str:
    """Memory of a replica and users a second by number of items: exact search, approximate index."""
    rows = []
    for dim in (DIM, WIDE_DIM):
        pattern = rf"top 20 of ([\d,]+) items x {dim}, "
        exact = figures.curve("ann", pattern, lambda line: line.baseline)
        found = figures.curve("ann", pattern)
        made = figures.curve("ann", rf"index and measure ([\d,]+) items x {dim},")
        size = figures.one("ann", rf"index of 1,000,000 items x {dim},")
        rows += [
            [
                f"{_count(items)} x {dim}",
                _bytes(items * (4 * (dim + 1) + ID_BYTES)),
                exact.mark(items) + _rate(exact.at(items)),
                found.mark(items) + _rate(found.at(items)),
                _bytes(items * size),
                made.mark(items) + _hours(items / made.at(items)),
            ]
            for items in ITEMS
        ]
    return _table(
        ["items", "vectors", "exact, users/s", "by index, users/s", "index on disk", "to make the index"], rows
    )


def requests_table(figures: Figures) -> str:
    """Replicas by requests a second: what HTTP takes, and what the search takes of it."""
    most = figures.one("serve", "cold users, [0-9]+ in flight")
    rows = []
    for requests in REQUESTS:
        busy = requests / (LOAD * most)
        rows.append([_count(requests), f"{math.ceil(busy):,}", f"{math.ceil(busy * SPARE):,}"])
    return _table(["requests/s", f"replicas at {LOAD:.0%} of {most:,.0f} requests/s", "and a fifth more"], rows)


TABLES: dict[str, Callable[[Figures], str]] = {
    "users": users_table,
    "spark": spark_table,
    "items": items_table,
    "requests": requests_table,
}


def page(text: str, figures: Figures) -> str:
    """``text`` with every table between ``<!-- NAME -->`` and ``<!-- end -->`` made again."""
    for name, make in TABLES.items():
        start = f"<!-- {name} -->\n"
        if start not in text:
            raise InputError(f"the page has no place for the table {name}: it begins with {start.strip()}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}{make(figures)}<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def main(
    figures: Annotated[Path, typer.Option(help="Lines of `diffcdr bench NAME --json`.")] = FIGURES,
    to: Annotated[Path, typer.Option(help="Page to make the tables of again.")] = PAGE,
) -> None:
    """Make the tables of docs/how-to/scale.md again."""
    made = page(to.read_text(encoding="utf-8"), Figures.read(figures))
    to.write_text(made, encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _count(number: float) -> str:
    power = int(math.floor(math.log10(number)))
    digits = number / 10**power
    return f"10^{power}" if math.isclose(digits, 1.0) else f"{digits:g} x 10^{power}"


def _bytes(number: float) -> str:
    for unit in ("MB", "GB"):
        number /= 1e6 if unit == "MB" else 1e3
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1e3:.3g} TB"


def _hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 3600 else f"{_figures(seconds / 3600)} h"


def _rate(number: float) -> str:
    return f"{_figures(number / 1e3)} K" if number >= 1e3 else _figures(number)


def _figures(number: float) -> str:
    """Two significant digits, without an exponent."""
    digits = 1 - math.floor(math.log10(number))
    return f"{round(number, digits):,.{max(digits, 0)}f}"


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
