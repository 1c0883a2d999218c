"""The report's figures as self-contained SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.experiment.plan import Scenario
from training.experiment.results import CellResult
from training.experiment.statistics import METRICS, Summary
from training.experiment.summaries import Summaries
from training.models.registry import MODELS

SCENARIO_COLOURS: dict[Scenario, str] = {"cold": "#4477aa", "warm": "#ee6677"}
SHOWN = tuple(metric for metric in METRICS if metric.field in ("mae", "rmse", "ndcg"))
COLOURS = (
    *("#4477aa", "#ee6677", "#228833", "#eeaa11", "#881199", "#664400", "#00ccbb", "#ff99ee", "#5577ff", "#aacc33"),
    *("#773355", "#005544", "#cc5511", "#eeaa77", "#dd1188", "#aabb77", "#00ccff", "#00dd77", "#882222", "#aaaaff"),
    *("#444499", "#998811", "#eeaabb", "#cc0033", "#556622", "#aa77aa", "#996655", "#bb77ee", "#008899", "#559977"),
    *("#0088ee", "#992277"),
)
"""More than there are models; each far (26 in CIELAB) from every other, and from white, black and middle grey."""
MARKERS = "os^Dv<>PX*hd8"


def style_of(model: str) -> tuple[str, str]:
    """Colour and marker of ``model``, in every figure the same; no two models of the registry have the same colour."""
    place = list(MODELS).index(model) if model in MODELS else len(MODELS)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


@dataclass(frozen=True)
class ReportFigure:
    """``name`` is fit for a file; ``svg`` an ``<svg>`` element; ``caption`` one or two sentences."""

    name: str
    title: str
    caption: str
    svg: str

    @classmethod
    def of(cls, drawing: Figure, *, name: str, title: str, caption: str, legend: bool = True) -> Self:
        """``drawing`` as it is, with the legend of its first panel beside it unless it has its own."""
        if legend:
            drawing.legend(*drawing.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
        return cls(name, title, caption, as_svg(drawing, name))


def warm_against_cold(summaries: Summaries) -> ReportFigure | None:
    """Figure 3: both scenarios side by side, a row of panels for each test fraction that has both; None without any."""
    both = sorted(set(summaries.fractions("cold")) & set(summaries.fractions("warm")))
    if not both:
        return None
    models = list(dict.fromkeys(result.model for result in summaries.results if result.test_fraction in both))
    height = 0.9 + 0.3 * len(models)
    figure = Figure(figsize=(3.8 * len(SHOWN), height * len(both)), layout="constrained")
    for row, fraction in enumerate(both):
        for column, metric in enumerate(SHOWN, start=1):
            axes = figure.add_subplot(len(both), len(SHOWN), row * len(SHOWN) + column)
            _draw_bars(axes, {name: summaries.figures(metric, fraction, name) for name in SCENARIO_COLOURS}, models)
            axes.set_xlabel(metric.label)
            axes.set_title(f"β = {fraction:g}", fontsize="small")
            if column > 1:
                axes.set_yticklabels([])
    return ReportFigure.of(
        figure,
        name="figure-3",
        title="Figure 3. Warm start against cold start",
        caption="Means over seeds, bars of one standard error. Rating errors are not clipped, as in the paper. Warm "
        "figures are on the half of the test users' ratings that is not known, cold ones on all of them.",
    )


def _draw_bars(axes: Axes, figures: Mapping[Scenario, Mapping[str, Summary]], models: Sequence[str]) -> None:
    for shift, (scenario, colour) in zip((-0.2, 0.2), SCENARIO_COLOURS.items(), strict=True):
        shown = [(row, figures[scenario][model]) for row, model in enumerate(models) if model in figures[scenario]]
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
    figure = Figure(figsize=(8.0, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for model, (errors, best) in curves.items():
        colour, marker = style_of(model)
        kept = [best - 1] if 1 <= best <= len(errors) else []
        axes.plot(range(1, len(errors) + 1), errors, color=colour, marker=marker, markevery=kept, label=model)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation RMSE, clipped")
    return ReportFigure.of(
        figure,
        name="training-curves",
        title="Training curves",
        caption=f"β = {first[0]:g}, seed {first[1]}, on the validation users; the mark is the epoch kept. Models "
        "solved in closed form have no epochs.",
    )


def as_svg(figure: Figure, name: str) -> str:
    """A self-contained ``<svg>`` element; ``name`` tells its ids from those of others on a page.

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
