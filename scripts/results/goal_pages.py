"""The pages ``robust.md`` and ``ranking.md`` of ``docs/results/``: every cell, with goals, errors and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from scripts.results.diversity_study import DiversityFigures, diversity_table
from scripts.results.goal_figures import changes_figure, ratios_figure
from scripts.results.goals import (
    RMSE_GAIN_ON_THE_MEAN,
    PairResults,
    Standing,
    mean_change,
    standings,
    wanted_ratio,
)
from training.experiment.plan import Scenario
from training.experiment.report.figures import ReportFigure
from training.experiment.report.first_ratings import first_ratings
from training.experiment.report.list_tables import beyond_table
from training.experiment.report.render import Report
from training.experiment.report.tables import SCENARIOS, SUBJECT, ReportTable, TableCell, p_text, shown
from training.experiment.statistics import METRICS, Metric

BY_FIELD = {metric.field: metric for metric in METRICS}
RMSE, MAE, NDCG = BY_FIELD["rmse_clipped"], BY_FIELD["mae_clipped"], BY_FIELD["ndcg"]

NOTHING_YET = "No cell has been computed yet; `make results` does."
HOW_TO_READ = (
    "Made by `make results`. Each cell is the mean over seeds ± one standard error; each seed is a split of its own "
    "with base models of its own, the same for all models of a row. Every choice was made on validation users; test "
    "users were measured once. Changes and their errors are of the paired differences over seeds; p is two-sided, of "
    "a paired t-test, without correction for the number of rows. β is the share of overlap users held out; metrics "
    "are defined in [metrics](../reference/metrics.md)."
)


def robust_page(pairs: Sequence[PairResults]) -> Report:
    """Rating prediction, against the plain ``bias`` model."""
    title = "Preset robust: rating prediction"
    cold = standings(pairs, RMSE, model=SUBJECT, baseline="bias")
    if not cold:
        return Report(title, (NOTHING_YET,), (), ())
    absolute = standings(pairs, MAE, model=SUBJECT, baseline="bias")
    goals = (
        _goal_in_every_cell("RMSE no higher than the bias model's, in every cell", cold),
        _goal(
            f"RMSE {RMSE_GAIN_ON_THE_MEAN:.1%} lower or more, mean over cells",
            mean_change(cold) <= -RMSE_GAIN_ON_THE_MEAN,
            f"{mean_change(cold):+.2%}",
        ),
        _goal_in_every_cell("MAE no higher than the bias model's, in every cell", absolute),
    )
    tables = [_goal_table(goals)]
    for scenario in SCENARIOS:
        for metric in (RMSE, MAE):
            tables += _against_table(pairs, metric, baseline="bias", others=("mean",), scenario=scenario)
    figure = changes_figure(
        cold,
        name="robust-change",
        title="Change of RMSE against the bias model",
        caption="Cold start; below zero is better. Bars are one standard error of the paired differences over seeds.",
        axis="change of RMSE, %",
    )
    return Report(title, (_seeds(cold), HOW_TO_READ), tuple(tables), (figure, *_first_ratings(pairs, "robust")))


def ranking_page(pairs: Sequence[PairResults], diversity: Mapping[str, Sequence[DiversityFigures]]) -> Report:
    """Lists, against the popular list and the ridge map of the same base vectors; what diversity costs, if measured."""
    title = "Preset ranking: lists"
    popular = standings(pairs, NDCG, model=SUBJECT, baseline="popular")
    ridge = standings(pairs, NDCG, model=SUBJECT, baseline="ridge")
    if not popular or not ridge:
        return Report(title, (NOTHING_YET,), (), ())
    tables = [_goal_table(_ranking_goals(popular, ridge)), _ratio_table(popular)]
    for scenario in SCENARIOS:
        for metric in (NDCG, BY_FIELD["hr"], BY_FIELD["recall"]):
            tables += _against_table(pairs, metric, baseline="ridge", others=("popular",), scenario=scenario)
    tables += _beyond_tables(pairs)
    tables += [diversity_table(diversity)] if any(diversity.values()) else []
    figures = (
        ratios_figure(
            popular,
            name="ranking-popular",
            title="NDCG@20 as a multiple of the popular list's",
            caption="Cold start. Bars are one standard error over seeds; black ticks are the goals.",
            axis="× popular list",
        ),
        changes_figure(
            ridge,
            name="ranking-ridge",
            title="NDCG@20 against the ridge map of the same base vectors",
            caption="Cold start; above zero is better. Bars are one standard error of the paired differences.",
            axis="change of NDCG@20, %",
        ),
        *_first_ratings(pairs, "ranking"),
    )
    return Report(title, (_seeds(popular), HOW_TO_READ), tuple(tables), figures)


def _first_ratings(pairs: Sequence[PairResults], preset: str) -> Iterator[ReportFigure]:
    """For each pair how the first target ratings of a user help, where that was measured."""
    for pair in pairs:
        title = f"{pair.label}: quality with the first target ratings"
        figure = first_ratings(pair.results, name=f"{preset}-first-{pair.name}", title=title)
        if figure is not None:
            yield figure


def _ranking_goals(popular: Sequence[Standing], ridge: Sequence[Standing]) -> list[tuple[TableCell, ...]]:
    goals = []
    for pair in dict.fromkeys(each.pair for each in popular):
        mine = [(each, goal) for each in popular if each.pair == pair and (goal := wanted_ratio(each)) is not None]
        if mine:
            first, goal = mine[0]
            cells = ", ".join(f"{each.test_fraction:g}" for each, _ in mine)
            goals.append(
                _goal(
                    f"{first.label}, β {cells}: NDCG@20 at least {goal:g} × the popular list's",
                    all(each.ratio >= goal for each, goal in mine),
                    ", ".join(f"{each.ratio:.2f} ×" for each, _ in mine),
                )
            )
    above = mean_change(ridge)
    return [
        *goals,
        _goal_in_every_cell("NDCG@20 at least the ridge map's, in every cell", ridge),
        _goal("NDCG@20 above the ridge map's, mean over cells", above > 0, f"{above:+.1%}"),
    ]


def _goal_in_every_cell(text: str, found: Sequence[Standing]) -> tuple[TableCell, ...]:
    reached = sum(each.no_worse for each in found)
    return _goal(f"{text} (ties within one standard error count)", reached == len(found), f"{reached} of {len(found)}")


def _goal(text: str, reached: bool, figure: str) -> tuple[TableCell, ...]:
    return TableCell(text), TableCell(figure), TableCell("reached" if reached else "not reached", best=reached)


def _goal_table(rows: Sequence[tuple[TableCell, ...]]) -> ReportTable:
    return ReportTable("Goals", ("goal", "found", ""), tuple(rows))


def _ratio_table(found: Sequence[Standing]) -> ReportTable:
    rows = []
    for each in found:
        goal = wanted_ratio(each)
        error = "" if each.error is None else f" ± {each.error:.2f}"
        reached = goal is not None and each.ratio >= goal
        rows.append(
            (
                TableCell(each.label),
                TableCell(f"{each.test_fraction:g}"),
                TableCell(shown(each.baseline)),
                TableCell(shown(each.model)),
                TableCell(f"{each.ratio:.2f}{error}", best=reached),
                TableCell("–" if goal is None else f"{goal:g}"),
                TableCell("–" if goal is None else "reached" if reached else "not reached"),
                TableCell(p_text(each.p)),
            )
        )
    columns = ("pair", "β", "popular", SUBJECT, "× popular", "goal", "", "p")
    return ReportTable("NDCG@20 against the popular list, cold start", columns, tuple(rows))


def _against_table(
    pairs: Sequence[PairResults], metric: Metric, *, baseline: str, others: Sequence[str], scenario: Scenario
) -> list[ReportTable]:
    """Every cell of ``metric``: ``others``, ``baseline`` and the subject, and the change between the last two."""
    found = standings(pairs, metric, model=SUBJECT, baseline=baseline, scenario=scenario)
    beside = {
        other: {
            (each.pair, each.test_fraction): each.model
            for each in standings(pairs, metric, model=other, baseline=baseline, scenario=scenario)
        }
        for other in others
    }
    rows = []
    for each in found:
        cell = each.pair, each.test_fraction
        error = "" if each.error is None else f" ± {each.error:.2%}"
        rows.append(
            (
                TableCell(each.label),
                TableCell(f"{each.test_fraction:g}"),
                *(TableCell(shown(beside[other][cell]) if cell in beside[other] else "–") for other in others),
                TableCell(shown(each.baseline)),
                TableCell(shown(each.model), best=(each.change < 0) == metric.lower_is_better and each.change != 0),
                TableCell(f"{each.change:+.2%}{error}"),
                TableCell(f"{each.better} of {each.model.n}"),
                TableCell(p_text(each.p)),
                TableCell("yes" if each.no_worse else "no"),
            )
        )
    columns = ("pair", "β", *others, baseline, SUBJECT, f"against {baseline}", "seeds better", "p", "no worse")
    return [ReportTable(f"{metric.label}, {SCENARIOS[scenario]}", columns, tuple(rows))] if rows else []


def _beyond_tables(pairs: Sequence[PairResults]) -> list[ReportTable]:
    """What lists are like at the smallest test fraction, a table a pair."""
    tables = []
    for pair in pairs:
        models = list(dict.fromkeys(each.model for each in pair.results))
        for fraction in pair.fractions()[:1]:
            table = beyond_table(pair.summaries, test_fraction=fraction, scenario="cold", models=models)
            if table is not None:
                tables.append(ReportTable(f"{pair.label}: {table.title}", table.columns, table.rows, table.notes))
    return tables


def _seeds(found: Sequence[Standing]) -> str:
    counts = sorted({each.model.n for each in found})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{len(found)} cells of {len({each.pair for each in found})} pairs, {seeds} seeds each."
