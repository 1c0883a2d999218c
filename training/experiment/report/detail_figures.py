"""Figures of where a model is good: users by history, items by popularity, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.detail import AT, CalibrationBin, Detail, ItemGroup, UserGroup
from training.experiment.report.detail_tables import DETAILED, details_of
from training.experiment.report.figures import ReportFigure, style_of
from training.experiment.statistics import summarise
from training.experiment.summaries import Summaries

Group = UserGroup | ItemGroup | CalibrationBin


def groups_figure(summaries: Summaries) -> ReportFigure | None:
    """Quality by length of history and by popularity, one line a model, for the smallest fraction; None without."""
    fraction = _fraction(summaries)
    if fraction is None:
        return None
    figure = Figure(figsize=(9.8, 3.6), layout="constrained")
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    for model, details in details_of(summaries, fraction).items():
        _draw(left, model, details, lambda detail: detail.users, "ndcg")
        _draw(right, model, details, lambda detail: [each for each in detail.items if each.place], "found")
    left.set_xlabel("tenth of the users by source ratings, few to many")
    left.set_ylabel(f"NDCG@{AT}")
    right.set_xlabel("fifth of the ratings by item popularity, head to tail")
    right.set_xticks(range(1, 6))
    right.set_ylabel(f"held-out ratings found in lists of {AT}")
    return ReportFigure.of(
        figure,
        name="groups",
        title="Users by history, items by popularity",
        caption=f"β = {fraction:g}, cold start; means over seeds, bars of one standard error.",
    )


def calibration_figure(summaries: Summaries) -> ReportFigure | None:
    """Mean rating against mean prediction, one line a model, for the smallest fraction; None without any."""
    fraction = _fraction(summaries)
    details = {} if fraction is None else details_of(summaries, fraction)
    told = {model: [each for each in of if each.calibration] for model, of in details.items()}
    if not any(told.values()):
        return None
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    ends: list[float] = []
    for model, of in ((model, of) for model, of in told.items() if of):
        predicted, actual = (_means(of, lambda detail: detail.calibration, field) for field in ("predicted", "actual"))
        colour, marker = style_of(model)
        places = sorted(predicted)
        axes.plot(
            [predicted[place][0] for place in places],
            [actual[place][0] for place in places],
            color=colour,
            marker=marker,
            markersize=4,
            label=model,
        )
        ends += [figures[place][0] for figures in (predicted, actual) for place in places]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#777777", linewidth=0.8, label="calibrated")
    axes.set_xlabel("mean prediction of a tenth of the ratings")
    axes.set_ylabel("their mean rating")
    return ReportFigure.of(
        figure,
        name="calibration",
        title="Calibration of predicted ratings",
        caption=f"β = {fraction:g}, cold start; held-out ratings in ten groups by prediction, means over seeds.",
    )


def _fraction(summaries: Summaries) -> float | None:
    """The smallest test fraction with such figures."""
    return next((each for each in summaries.fractions(DETAILED) if details_of(summaries, each)), None)


def _draw(
    axes: Axes, model: str, details: Sequence[Detail], groups: Callable[[Detail], Sequence[Group]], field: str
) -> None:
    means = _means(details, groups, field)
    colour, marker = style_of(model)
    axes.errorbar(
        list(means),
        [mean for mean, _ in means.values()],
        yerr=[error for _, error in means.values()],
        color=colour,
        marker=marker,
        markersize=4,
        label=model,
    )


def _means(
    details: Sequence[Detail], groups: Callable[[Detail], Sequence[Group]], field: str
) -> dict[int, tuple[float, float]]:
    """[place of a group] -> mean of ``field`` over seeds, and its standard error (0 of one)."""
    values: dict[int, list[float]] = {}
    for detail in details:
        for group in groups(detail):
            value = getattr(group, field)
            if value is not None:
                values.setdefault(group.place, []).append(value)
    found = {place: summarise(of) for place, of in sorted(values.items())}
    return {place: (each.mean, each.error or 0.0) for place, each in found.items()}
