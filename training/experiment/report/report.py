"""Assembles the report of an experiment from its results."""

from __future__ import annotations

from collections.abc import Sequence

from training.data.domains import DomainPair
from training.experiment.comparison import Comparison, compare
from training.experiment.embedding import Sample
from training.experiment.paper import task_of
from training.experiment.plan import Grid, Scenario, Setup
from training.experiment.report.detail_figures import calibration_figure, groups_figure
from training.experiment.report.detail_tables import DETAILED, detail_tables
from training.experiment.report.embedding_figure import embedding_figure, embedding_table
from training.experiment.report.figures import training_curves, warm_against_cold
from training.experiment.report.first_ratings import first_ratings
from training.experiment.report.list_tables import beyond_table, sampled_table
from training.experiment.report.paper_tables import counts_table, figures_table, speeds_table
from training.experiment.report.reading import ENOUGH_SEEDS, reading
from training.experiment.report.render import Report
from training.experiment.report.tables import (
    SUBJECT,
    ReportTable,
    baselines_of,
    data_table,
    is_ablation,
    label,
    result_table,
    speed_table,
)
from training.experiment.report.warm_table import warm_table
from training.experiment.results import CellResult
from training.experiment.summaries import Summaries

MAPPING_ORIENTED = ("cmf", "emcdr", "sscdr", "lacdr")
"""Systems that learn without target ratings (paper, Table 3: "Best CDR M")."""
TASK_ORIENTED = "ptupcdr"
"""The system that Table 3 compares with AT."""


def make_report(
    pair: DomainPair, setup: Setup, grid: Grid, results: Sequence[CellResult], *, sample: Sample | None = None
) -> Report:
    """The report on ``results``, which are of ``grid``; cells that are missing are said to be. ``sample``: Figure 4."""
    summaries = Summaries(sorted(results, key=lambda result: grid.models.index(result.model)))
    tables = [data_table(pair)]
    for scenario in grid.scenarios:
        tables += _result_tables(summaries, grid, scenario)
    tables.append(speed_table(summaries))
    tables += _paper_tables(pair, grid, summaries)
    vectors = [table for table in (embedding_table(sample),) if table is not None] if sample else []
    figures = (
        warm_against_cold(summaries),
        first_ratings(summaries.results),
        groups_figure(summaries),
        calibration_figure(summaries),
        embedding_figure(sample) if sample else None,
        training_curves(summaries.results),
    )
    return Report(
        title=f"{pair.source.file.name} → {pair.target.file.name}, preset {setup.preset}",
        introduction=_introduction(setup, grid, summaries.results),
        tables=(*tables, *vectors),
        figures=tuple(figure for figure in figures if figure is not None),
        reading=reading(summaries, grid, {each: _overall(summaries, each) for each in grid.scenarios}),
    )


def _overall(summaries: Summaries, scenario: Scenario) -> list[Comparison]:
    """The subject against the best of all baselines."""
    rivals = set().union(*baselines_of(summaries.models(scenario)).values())
    return compare(summaries, SUBJECT, baselines=rivals, scenario=scenario)


def _result_tables(summaries: Summaries, grid: Grid, scenario: Scenario) -> list[ReportTable]:
    """Table 2 for every test fraction, then Table 3 for every test fraction where there are ablations."""
    models = summaries.models(scenario)
    ablations = [model for model in models if is_ablation(model)]
    against = {
        kind: compare(summaries, SUBJECT, baselines=rivals, scenario=scenario)
        for kind, rivals in baselines_of(models).items()
    }
    fractions = [fraction for fraction in grid.test_fractions if summaries.cells(fraction, scenario)]
    tables = [
        result_table(
            summaries,
            {kind: [each for each in of if each.test_fraction == fraction] for kind, of in against.items()},
            title=f"Table 2. Results, {label(fraction, scenario)}",
            test_fraction=fraction,
            scenario=scenario,
            models=[model for model in models if model not in ablations],
        )
        for fraction in fractions
    ]
    if ablations:
        order = ("diffcdr-da", TASK_ORIENTED, *ablations, SUBJECT)
        shown = [model for model in dict.fromkeys(order) if model in models]
        mapped = [model for model in MAPPING_ORIENTED if model in models]
        tables += [
            result_table(
                summaries,
                {},
                title=f"Table 3. Ablations, {label(fraction, scenario)}",
                test_fraction=fraction,
                scenario=scenario,
                models=shown,
                groups={"best mapping-oriented CDR": mapped} if mapped else {},
            )
            for fraction in fractions
        ]
    lists = (beyond_table(summaries, test_fraction=each, scenario=scenario, models=models) for each in fractions)
    warmed = (warm_table(summaries, test_fraction=each, models=models) for each in fractions if scenario == "warm")
    sampled = (sampled_table(summaries, test_fraction=each, models=models) for each in fractions if scenario == "cold")
    found = [*tables, *(table for table in (*warmed, *lists, *sampled) if table is not None)]
    details = [detail_tables(summaries, test_fraction=each) for each in fractions if scenario == DETAILED]
    return [*found, *(table for of in details for table in of)]


def _paper_tables(pair: DomainPair, grid: Grid, summaries: Summaries) -> list[ReportTable]:
    """These figures compared with the paper's, where the files are those of one of its tasks."""
    task = task_of(pair)
    if task is None:
        return []
    figures = (figures_table(summaries, task, test_fraction=fraction) for fraction in grid.test_fractions)
    return [table for table in (counts_table(pair, task), *figures, speeds_table(summaries)) if table is not None]


def _of_split(setup: Setup, seeds: str) -> str:
    """How the data of each cell were divided."""
    if setup.config.split.by == "time":
        return (
            f"Split by time. Models, test fractions (β: share of the target ratings after the cut) and {seeds}: models "
            "learn from the ratings of both domains up to the cut, and are tested on users who rated in the source by "
            "then and in the target only after it. Seeds draw other validation users and base models; the test users "
            "of a test fraction are the same for all seeds, so intervals over seeds do not contain the chance of which "
            "users came."
        )
    return (
        f"Split by user. Models, test fractions (β: share of overlap users held out) and {seeds}: each seed is a split "
        "of its own with base models of its own, the same for all models."
    )


def _ranges(setup: Setup) -> str:
    """The rating range of each domain, in a sentence."""
    source, target = (
        "–".join(f"{end:g}" for end in ends) for ends in (setup.source_range or setup.rating_range, setup.rating_range)
    )
    return f"Ratings are {target}." if source == target else f"Ratings are {source} (source) and {target} (target)."


def _tests(grid: Grid) -> list[str]:
    """What an improvement is one over, and how sure it is; nothing where there is nothing to compare."""
    rivals = [kind.removeprefix("of ") for kind in baselines_of(grid.models)] if SUBJECT in grid.models else []
    if not rivals:
        return []
    over = ", and over that of ".join(rivals)
    text = f"Improvement is that of {SUBJECT} over the best mean of {over}; "
    if grid.seeds == 1:
        return [f"{text}one seed allows no test."]
    text += (
        "* significant at 0.05 by a paired t-test over seeds, ** also after Holm's correction for all tests of that "
        "kind and scenario."
    )
    if grid.seeds < ENOUGH_SEEDS:
        text += f" With {grid.seeds} seeds only very large differences are significant: its absence says little."
    return [text]


def _introduction(setup: Setup, grid: Grid, results: Sequence[CellResult]) -> tuple[str, ...]:
    total = len(grid.cells())
    seeds = "one seed" if grid.seeds == 1 else f"{grid.seeds} seeds"
    versions = dict(sorted({item for result in results for item in result.versions.items()}))
    parts = [
        _of_split(setup, seeds),
        "Every choice (epoch, weights) was made on validation users, "
        f"{setup.config.split.validation_fraction:.0%} of the overlap users that are not test users; test users were "
        f"measured once. {_ranges(setup)}",
        "Figures are means over seeds ± one standard error; the best mean of a column is bold where there are "
        "several. Rating errors are pooled over ratings; lists are ranked over all target items and figures averaged "
        "over users. A dash: the model's scores are not ratings.",
        *_tests(grid),
        "Tables and figures with a number are those of the paper: 1 data, 2 results, 3 ablations, 4 throughput.",
    ]
    if "warm" in grid.scenarios:
        parts.append(
            "Warm start: half of each test user's target ratings, those rated first (by a seeded draw where the file "
            "has no times), move the user's transferred vector in closed form; the other half is predicted, and known "
            "items are not listed. Models that train in epochs are measured fine-tuned on the known half too."
        )
    if len(results) < total:
        parts.append(f"{total - len(results)} of {total} cells are missing: they failed, or the run was stopped.")
    parts.append("Made with " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".")
    return tuple(parts)
