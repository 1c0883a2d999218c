"""``diffcdr experiment``: models x test fractions x seeds on two rating files, and a report on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.errors import DiffCDRError, InputError
from diffcdr.help import help_groups
from diffcdr.progress import Reporter, hint_on_interrupt
from training.commands.experiment_screen import BRIEF_S, cell_name, cell_times, plan_notes
from training.commands.options import (
    Accept,
    Encoding,
    MLflow,
    OwnGrids,
    PaperGrids,
    PositiveThreshold,
    RatingRange,
    Settings,
    SourceColumns,
    SourceRange,
    SourceSeparator,
    SplitBy,
    TargetColumns,
    TargetRange,
    TargetSeparator,
    TensorBoard,
)
from training.commands.sources import load
from training.config import load_preset
from training.experiment.embedding import SEED, USERS, Sample
from training.experiment.experiment import Experiment
from training.experiment.paper import paper_task as task_named
from training.experiment.plan import Cell, Grid, Setup, parse_fractions
from training.experiment.report.render import HTML, MARKDOWN
from training.experiment.results import RESULTS, CellResult, ResultsFile
from training.experiment.runner import Failure
from training.run.data_checks import check_data
from training.run.grids import parse_grids
from training.run.inputs import DEFAULT_RANGE, CommonOptions, DomainOptions, Files
from training.run.model_choice import parse_models
from training.run.run import Run
from training.trackers.base import Trackers
from training.trackers.opening import open_trackers
from training.train_plan import likes_settings, split_settings


@help_groups(
    {
        "Files": (
            "source",
            "target",
            "paper_task",
            "data",
            "out",
            "source_columns",
            "target_columns",
            "rating_range",
            "positive_threshold",
        ),
        "Unusual files": (
            *("encoding", "source_separator", "target_separator", "source_range", "target_range", "accept"),
        ),
        "Models": ("preset", "models", "settings", "grid", "grid_values"),
        "Splits and measures": ("split", "test_fractions", "seeds", "warm", "sampled_negatives", "embedding_users"),
        "Work": ("jobs", "tensorboard", "mlflow"),
    }
)
@hint_on_interrupt("stopped; the same command goes on, and computes no finished cell again")
def experiment(
    *,
    source: Annotated[Path | None, typer.Option(help="Ratings of the domain users are known in.")] = None,
    target: Annotated[Path | None, typer.Option(help="Ratings of the domain to recommend in.")] = None,
    paper_task: Annotated[
        int | None, typer.Option(help="1, 2 or 3: the paper's pair of Amazon files, in --data.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the files of --paper-task, as published.")] = None,
    out: Annotated[
        Path, typer.Option(help="Directory for results.jsonl and the report; an existing experiment is continued.")
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Named settings: ranking (lists), robust (ratings); reference (released code) and paper compare with "
            "the literature.",
            show_default="ranking, as in diffcdr train; with --paper-task, reference",
        ),
    ] = None,
    models: Annotated[
        str, typer.Option(help="A comma-separated list; all; paper (its seven systems and ablations).")
    ] = "all",
    test_fractions: Annotated[
        str,
        typer.Option(
            metavar="SHARES",
            help="Shares of the overlap users held out to measure on (beta); by time, of the target ratings.",
        ),
    ] = "0.2,0.5,0.8",
    split: SplitBy = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Splits per test fraction, seeds 0, 1, ….")] = 5,
    warm: Annotated[
        bool, typer.Option("--warm", help="Also measure with half of each test user's target ratings known.")
    ] = False,
    sampled_negatives: Annotated[
        int, typer.Option(min=0, help="Also rank each held-out item among so many sampled ones; older papers take 99.")
    ] = 0,
    embedding_users: Annotated[
        int, typer.Option(min=2, help="Most users of each part in Figure 4; the paper shows 1000.")
    ] = USERS,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; each works on one split at a time.")] = 1,
    settings: Settings = None,
    grid: PaperGrids = False,
    grid_values: OwnGrids = None,
    source_columns: SourceColumns = None,
    target_columns: TargetColumns = None,
    source_separator: SourceSeparator = None,
    target_separator: TargetSeparator = None,
    encoding: Encoding = None,
    rating_range: RatingRange = None,
    positive_threshold: PositiveThreshold = None,
    source_range: SourceRange = None,
    target_range: TargetRange = None,
    accept: Accept = None,
    tensorboard: TensorBoard = None,
    mlflow: MLflow = None,
) -> None:
    """Compare models on two rating files: a grid of runs, and a report with tables and figures.

    Repeat the command to continue a stopped run; finished cells are not computed again.
    """
    preset = preset or ("ranking" if paper_task is None else "reference")
    settings = [*_of_task(paper_task, preset), *(settings or [])]
    settings += split_settings(split)
    settings += likes_settings(positive_threshold, preset, settings)
    config = load_preset(preset, settings)
    if warm and config.split.by == "time":
        raise InputError("--warm takes half of what test users rate later as known, which --split time rules out")
    names, fractions = parse_models(models, config), parse_fractions(test_fractions)
    grids = parse_grids(preset, settings, paper=grid, own=grid_values or [], models=names)
    cells = Grid(names, fractions, seeds, ("cold", "warm") if warm else ("cold",))
    source, target = _paths(source, target, paper_task, data)
    common = CommonOptions(rating_range, encoding, accept or [])
    files = Files(
        DomainOptions("source", source, source_columns, separator=source_separator, rating_range=source_range).file(
            common
        ),
        DomainOptions("target", target, target_columns, separator=target_separator, rating_range=target_range).file(
            common
        ),
    )
    trackers = open_trackers(tensorboard=tensorboard, mlflow=mlflow)
    results = ResultsFile(out)
    reporter = Reporter()
    loaded = load(reporter, files, Run(config=config, seed=SEED, rating_range=DEFAULT_RANGE))
    pair, run = loaded.pair, loaded.run
    setup = Setup(preset, config, run.rating_range, grids, sampled_negatives, source_range=run.source_range)
    warnings = check_data(
        pair,
        config,
        models=names,
        test_fractions=fractions,
        seeds=range(seeds),
        accepted=files.source.rules.accepted,
    )
    work = Experiment(pair, setup, cells, results)
    for warning in warnings:
        reporter.warn(warning)
    for sentence in grids.cost(names):
        reporter.note(f"in every cell, {sentence}")
    try:
        _compute(reporter, work, setup, cells, jobs=jobs, trackers=trackers)
    except KeyboardInterrupt:
        _report_so_far(reporter, work, out, users=embedding_users)
        raise
    work.write_report(_sample(reporter, work, users=embedding_users))
    reporter.note(f"wrote {out / RESULTS}, {out / MARKDOWN} and {out / HTML}")
    _raise_failures(work.failures)


def _of_task(task: int | None, preset: str) -> Sequence[str]:
    """The settings by which the released code tells the paper's tasks apart, in the preset that follows it."""
    return task_named(task).reference if task is not None and preset == "reference" else ()


def _paths(source: Path | None, target: Path | None, task: int | None, data: Path | None) -> tuple[Path, Path]:
    """Both rating files, named one way or the other. Raises InputError where they are named by neither or by both."""
    if task is not None and data is not None and source is None and target is None:
        return task_named(task).files(data)
    if task is None and data is None and source is not None and target is not None:
        return source, target
    raise InputError("name the rating files: either --source and --target, or --paper-task (1, 2 or 3) and --data")


def _compute(reporter: Reporter, work: Experiment, setup: Setup, grid: Grid, *, jobs: int, trackers: Trackers) -> None:
    """Compute the missing cells, and say how each went."""
    cells, seconds = grid.cells(), work.seconds()
    times = cell_times(cells, seconds)
    for sentence in plan_notes(grid, finished=len(seconds)):
        reporter.note(sentence)
    total = len(cells) - len(seconds)
    with reporter.task("experiment", total=total, unit="cells", estimate=times.left) as task:

        def begin(cell: Cell) -> None:
            task.work_on(cell_name(cell), brief=(times.usual(cell) or BRIEF_S) < BRIEF_S)

        for outcome in work.compute(jobs=jobs, begin=begin):
            if isinstance(outcome, Failure):
                times.failed(outcome.cells)
                reporter.warn(_sentence(outcome))
                task.advance(len(outcome.cells))
            else:
                times.finished(outcome.cell, outcome.seconds)
                _track(trackers, setup, outcome)
                reporter.note(_line(outcome))
                task.advance()


def _report_so_far(reporter: Reporter, work: Experiment, out: Path, *, users: int) -> None:
    """The report on what is finished, of an experiment that is stopped."""
    if work.finished():
        work.write_report(work.stored_sample(users=users) if work.figure_4_models() else None)
        reporter.note(f"wrote {out / MARKDOWN} and {out / HTML} on the cells that are finished")


def _track(trackers: Trackers, setup: Setup, result: CellResult) -> None:
    """Each cell is a run, kept when it is done: cells may be computed in other processes."""
    name = f"{result.model}-beta-{result.test_fraction:g}-seed-{result.seed}-{result.scenario}"
    with trackers.run(name, setup.config_at(result.test_fraction).model_dump(mode="json")) as tracking:
        for number, figures in enumerate(result.epochs, start=1):
            tracking.epoch(result.model, number, figures)
        tracking.final("test", result.model, result.metrics())


def _sample(reporter: Reporter, work: Experiment, *, users: int) -> Sample | None:
    """What Figure 4 shows, from its file or computed; None where no model of the grid can be shown."""
    if not work.figure_4_models():
        return None
    sample = work.stored_sample(users=users)
    if sample is None:
        with reporter.task("figure 4", total=1, unit="sample") as task:
            sample = work.make_sample(users=users)
            task.advance(1)
    if not sample.panels:
        reporter.note("no Figure 4: no model here scores with the target base model's items, so their vectors differ")
    return sample


def _line(result: CellResult) -> str:
    errors = "" if result.rmse_clipped is None else f"rmse_clipped {result.rmse_clipped:.4f}, "
    return f"{cell_name(result.cell)}: {errors}ndcg@20 {result.ndcg:.4f} ({result.seconds:.1f} s)"


def _sentence(failure: Failure) -> str:
    first, others = failure.cells[0], len(failure.cells) - 1
    more = f" and {others} more" if others else ""
    return f"{cell_name(first)}{more}: {failure.reason}"


def _raise_failures(failures: Sequence[Failure]) -> None:
    if failures:
        by_model = Counter(cell.model for failure in failures for cell in failure.cells)
        listed = ", ".join(f"{count} of {model}" for model, count in by_model.items())
        raise DiffCDRError(
            f"not computed: {listed} (cells of the grid, for the reasons in the warnings above); the report leaves "
            "them out, and the same command tries them again"
        )
