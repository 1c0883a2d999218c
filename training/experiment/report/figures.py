"""The report's figures, as SVG text that needs nothing from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training.experiment.plan import Scenario
from training.experiment.results import CellResult
from training.experiment.statistics import METRICS, by_seed, summarise

SCENARIO_COLOURS: dict[Scenario, str] = {"cold": "#4477aa", "warm": "#ee6677"}
SHOWN = tuple(metric for metric in METRICS if metric.field in ("rmse_clipped", "ndcg"))


@dataclass(frozen=True)
class ReportFigure:
    """``name`` is fit for a file; ``svg`` an ``<svg>`` element; ``caption`` one or two sentences."""

    name: str
    title: str
    caption: str
    svg: str

    @classmethod
    def of(cls, drawing: Figure, *, name: str, title: str, caption: str, legend: bool = True) -> Self:
        """``drawing`` as it is, with a legend in its first panel unless it has its own."""
        if legend:
            drawing.axes[0].legend(loc="best", fontsize="small")
        return cls(name, title, caption, as_svg(drawing, name))


def warm_against_cold(results: Sequence[CellResult]) -> ReportFigure | None:
    """Figure 3: both scenarios side by side, for the smallest test fraction that has both; None where none has."""
    fractions = {
        scenario: {result.test_fraction for result in results if result.scenario == scenario}
        for scenario in SCENARIO_COLOURS
    }
    both = fractions["cold"] & fractions["warm"]
    if not both:
        return None
    fraction = min(both)
    here = [result for result in results if result.test_fraction == fraction]
    models = list(dict.fromkeys(result.model for result in here))
    figure = Figure(figsize=(4.5 * len(SHOWN), 0.9 + 0.34 * len(models)), layout="constrained")
    for place, metric in enumerate(SHOWN, start=1):
        axes = figure.add_subplot(1, len(SHOWN), place)
        for shift, (scenario, colour) in zip((-0.2, 0.2), SCENARIO_COLOURS.items(), strict=True):
            figures = by_seed([result for result in here if result.scenario == scenario], metric)
            shown = [
                (row, summarise(list(figures[model].values()))) for row, model in enumerate(models) if model in figures
            ]
            axes.barh(
                [row + shift for row, _ in shown],
                [summary.mean for _, summary in shown],
                height=0.38,
                xerr=[summary.error or 0.0 for _, summary in shown],
                color=colour,
                label=scenario,
            )
        axes.set_yticks(range(len(models)), models)
        axes.invert_yaxis()
        axes.set_xlabel(metric.label)
    return ReportFigure.of(
        figure,
        name="figure-3",
        title="Figure 3. Warm start against cold start",
        caption=f"β = {fraction:g}; means over seeds, bars of one standard error. Warm figures are on the half of the "
        "test users' ratings that is not known, cold ones on all of them.",
    )


def training_curves(results: Sequence[CellResult]) -> ReportFigure | None:
    """The validation error after each epoch, one line a model: the first seed of the smallest fraction.

    None where no model trained in epochs.
    """
    cold = [result for result in results if result.scenario == "cold"]
    first = min(((result.test_fraction, result.seed) for result in cold), default=None)
    curves = {
        result.model: ([figures.get("rmse", np.nan) for figures in result.epochs], result.best_epoch)
        for result in cold
        if (result.test_fraction, result.seed) == first
        and len(result.epochs) > 1
        and any("rmse" in figures for figures in result.epochs)
    }
    if first is None or not curves:
        return None
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for model, (errors, best) in curves.items():
        (line,) = axes.plot(range(1, len(errors) + 1), errors, label=model)
        if 1 <= best <= len(errors):
            axes.plot([best], [errors[best - 1]], "o", color=line.get_color())
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation RMSE, clipped")
    return ReportFigure.of(
        figure,
        name="training-curves",
        title="Training curves",
        caption=f"β = {first[0]:g}, seed {first[1]}, on the validation users; the dot is the epoch kept. Models solved "
        "in closed form have no epochs.",
    )


def as_svg(figure: Figure, name: str) -> str:
    """An ``<svg>`` element that needs nothing from elsewhere; ``name`` tells its ids from those of others on a page.

    Text stays text, and ids follow from the name, so that the same figure gives the same file.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    # A hundredth of a point is more than anybody sees; a figure of many points becomes half the size.
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    # Names of groups are the same in every figure, and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
