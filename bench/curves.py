"""Sweeps as figures: the cost of a unit of work as something grows, against the reference and the machine's limit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.harness import Point, Row, figure
from training.experiment.report.figures import as_svg

OURS, PLAIN, FLOOR = "#33608c", "#d1495b", "#6b6b6b"
"""Dark enough on the figure's white ground, which it brings along, so that it reads on a dark page as well."""

Panels = dict[str, list[tuple[Point, Row]]]


def draw(rows: Sequence[Row]) -> dict[str, str]:
    """An ``<svg>`` for each bench with sweeps among ``rows``, by the bench's name, one panel a sweep.

    Microseconds a unit of work; both axes are logarithmic.
    """
    benches: dict[str, Panels] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.point is not None:
            benches[row.bench][row.point.panel].append((row.point, row))
    return {name: as_svg(_drawing(panels), f"bench-{name}") for name, panels in benches.items()}


def _drawing(panels: Panels) -> Figure:
    across = 2 if len(panels) in {2, 4} else min(len(panels), 3)
    down = -(-len(panels) // across)
    drawing = Figure(figsize=(3.6 * across, 3.0 * down + 0.4), layout="constrained")
    for place, (title, points) in enumerate(panels.items(), start=1):
        _panel(drawing.add_subplot(down, across, place), title, points)
    handles, labels = drawing.axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small", frameon=False)
    return drawing


def _panel(axes: Axes, title: str, points: list[tuple[Point, Row]]) -> None:
    x = [point.x for point, _ in points]
    rates = [(row.baseline, row.ours, point.limit) for point, row in points]
    scale, unit = (1e3, "ms") if max(row.ours for _, row in points) < 1e3 else (1e6, "µs")
    plain, ours, floor = ([scale / rate for rate in column] for column in zip(*rates, strict=True))
    names = points[0][0].lines
    axes.loglog(x, plain, "s-", color=PLAIN, label=names[0], markersize=4)
    axes.loglog(x, ours, "o-", color=OURS, label=names[1], markersize=4)
    axes.loglog(x, floor, "--", color=FLOOR, label=names[2])
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(points[0][0].axis)
    axes.set_xticks(x, labels=[figure(value) for value in x])
    axes.set_ylabel(f"{unit} per {points[0][1].unit.removesuffix('/s').removesuffix('s')}")
    every = (*plain, *ours, *floor)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if max(every) > 30 * min(every) else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(value)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
