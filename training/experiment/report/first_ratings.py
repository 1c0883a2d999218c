"""Figure 3b: how the first target ratings of a user help."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.experiment.report.figures import ReportFigure, style_of
from training.experiment.results import CellResult
from training.experiment.statistics import summarise

PANELS = {"ndcg": "NDCG@20", "rmse_clipped": "RMSE, clipped"}
"""Figures of a :class:`training.experiment.warm_scenario.WarmPoint`, by what they are called."""


NAME, TITLE = "figure-3b", "Figure 3b. Quality with the first target ratings"


def first_ratings(results: Sequence[CellResult], *, name: str = NAME, title: str = TITLE) -> ReportFigure | None:
    """Quality with the first target ratings known, one line a model, for the smallest test fraction; None without."""
    told = [result for result in results if result.first_ratings]
    if not told:
        return None
    fraction = min(result.test_fraction for result in told)
    here = [result for result in told if result.test_fraction == fraction]
    figure = Figure(figsize=(4.9 * len(PANELS), 3.6), layout="constrained")
    for place, (field, label) in enumerate(PANELS.items(), start=1):
        axes = figure.add_subplot(1, len(PANELS), place)
        _draw(axes, here, field)
        axes.set_xlabel("known target ratings of a user, at most")
        axes.set_ylabel(label)
    return ReportFigure.of(
        figure,
        name=name,
        title=title,
        caption=f"β = {fraction:g}; means over seeds, bars of one standard error. Judged on the same ratings, from the "
        "same candidates, for every number; users with fewer known ratings have those.",
    )


def _draw(axes: Axes, results: Sequence[CellResult], field: str) -> None:
    for model in dict.fromkeys(result.model for result in results):
        by_count: dict[int, list[float]] = {}
        for result in (each for each in results if each.model == model):
            for point in result.first_ratings:
                value = getattr(point, field)
                if value is not None:
                    by_count.setdefault(point.known, []).append(value)
        summaries = [summarise(values) for values in by_count.values()]
        colour, marker = style_of(model)
        if summaries:
            axes.errorbar(
                range(len(by_count)),
                [summary.mean for summary in summaries],
                yerr=[summary.error or 0.0 for summary in summaries],
                color=colour,
                marker=marker,
                markersize=4,
                label=model,
            )
            axes.set_xticks(range(len(by_count)), [str(count) for count in by_count])
