"""Figures of how every cell stands against a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.results.goals import Standing, wanted_ratio
from training.experiment.report.figures import ReportFigure

FRACTION_COLOURS = {0.2: "#4477aa", 0.5: "#ee8866", 0.8: "#aa3377"}
OTHER_COLOUR = "#777777"


def changes_figure(standings: Sequence[Standing], *, name: str, title: str, caption: str, axis: str) -> ReportFigure:
    """The relative change of each cell with its standard error, a line a pair and a dot a test fraction."""
    figure, axes = _frame(standings)
    axes.axvline(0.0, color="#333333", linewidth=0.8)
    _dots(axes, standings, [100 * each.change for each in standings], [100 * (each.error or 0.0) for each in standings])
    axes.set_xlabel(axis)
    return ReportFigure.of(figure, name=name, title=title, caption=caption)


def ratios_figure(standings: Sequence[Standing], *, name: str, title: str, caption: str, axis: str) -> ReportFigure:
    """The ratio of each cell to the baseline, with its standard error and a tick where a goal was set."""
    figure, axes = _frame(standings)
    axes.axvline(1.0, color="#333333", linewidth=0.8)
    _dots(axes, standings, [each.ratio for each in standings], [each.error or 0.0 for each in standings])
    goals = [(goal, place) for each, place in _places(standings) if (goal := wanted_ratio(each)) is not None]
    if goals:
        values, places = zip(*goals, strict=True)
        axes.plot(values, places, "|", color="#111111", markersize=13, markeredgewidth=2, label="goal")
    axes.set_xlabel(axis)
    return ReportFigure.of(figure, name=name, title=title, caption=caption)


def _frame(standings: Sequence[Standing]) -> tuple[Figure, Axes]:
    pairs = list(dict.fromkeys(each.label for each in standings))
    figure = Figure(figsize=(7.2, 1.0 + 0.62 * len(pairs)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(pairs)), pairs)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _dots(axes: Axes, standings: Sequence[Standing], values: Sequence[float], errors: Sequence[float]) -> None:
    places = [place for _, place in _places(standings)]
    for fraction in sorted({each.test_fraction for each in standings}):
        mine = [row for row, each in enumerate(standings) if each.test_fraction == fraction]
        axes.errorbar(
            [values[row] for row in mine],
            [places[row] for row in mine],
            xerr=[errors[row] for row in mine],
            fmt="o",
            color=FRACTION_COLOURS.get(fraction, OTHER_COLOUR),
            capsize=2,
            label=f"β = {fraction:g}",
        )


def _places(standings: Sequence[Standing]) -> list[tuple[Standing, float]]:
    """Where each is drawn: its pair's line, the test fractions a little apart."""
    pairs = list(dict.fromkeys(each.pair for each in standings))
    fractions = sorted({each.test_fraction for each in standings})
    middle = (len(fractions) - 1) / 2
    return [(each, pairs.index(each.pair) + 0.2 * (fractions.index(each.test_fraction) - middle)) for each in standings]
