"""``diffcdr train``: two rating files in, one published bundle out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from diffcdr.bundle.format import ONNX_FILE
from diffcdr.help import help_groups
from diffcdr.progress import Reporter, hint_on_interrupt, no_estimate
from diffcdr.search.approximate import DEFAULT_FLOOR, load_faiss
from diffcdr.search.build_index import IndexOptions
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
    SourceTitleColumns,
    SplitBy,
    TargetColumns,
    TargetRange,
    TargetSeparator,
    TargetTitleColumns,
    TensorBoard,
)
from training.commands.screen import (
    epoch_bar,
    evidence_notes,
    honest_warnings,
    metrics_table,
    show_tunings,
    split_notes,
)
from training.commands.sources import GivenSource, GivenTables, GivenTarget, load
from training.export.bundle import STEPS
from training.export.destination import check_destination, reserving_space
from training.export.onnx import has_onnx_runtime
from training.run.finish import HeldOutUsers
from training.run.inputs import DEFAULT_RANGE, CommonOptions, DomainOptions, choose_start
from training.run.prepare import prepare
from training.run.run import Run, ready_checkpoints
from training.trackers.opening import open_trackers
from training.train import Trained, one_thread, train_models
from training.train_plan import TrainPlan, check_plan


@help_groups(
    {
        "Files": (
            "bundle",
            "source",
            "target",
            "tables",
            "source_columns",
            "target_columns",
            "rating_range",
            "positive_threshold",
            "source_titles",
            "target_titles",
            "target_items",
            "exclude_users",
            "events",
            "event_weights",
        ),
        "Unusual files": (
            "encoding",
            "source_separator",
            "target_separator",
            "source_range",
            "target_range",
            "source_title_columns",
            "target_title_columns",
            "accept",
        ),
        "Model": (
            *("preset", "model", "models", "select", "settings", "grid", "grid_values", "seed"),
            *("test_fraction", "split"),
        ),
        "What the bundle holds": ("held_out", "histories", "approximate_above", "recall_floor"),
        "Progress": ("checkpoint", "resume", "tensorboard", "mlflow"),
    }
)
@hint_on_interrupt("stopped, and nothing was published; with --checkpoint DIR, the same command with --resume goes on")
def train(
    bundle: Annotated[Path, typer.Option(help="Directory to publish to; a bundle already there is replaced whole.")],
    preset: Annotated[
        str,
        typer.Option(help="Named settings: ranking (lists), robust (ratings), reference (released code) or paper."),
    ] = "ranking",
    source: GivenSource = None,
    target: GivenTarget = None,
    tables: GivenTables = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model to publish; default: DiffCDR, or for lists a baseline better by one standard error."
        ),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            help="Models to train for comparison: plain (mean,bias,popular), all, paper (its systems), or a list."
        ),
    ] = "plain",
    select: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Publish the model with the best value of this metric on validation users, such as ndcg@20.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every random choice.")] = 0,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of overlap users held out to measure on (beta); else the preset's.")
    ] = None,
    split: SplitBy = None,
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
    source_titles: Annotated[Path | None, typer.Option(help="Titles: a file with item_id and title.")] = None,
    target_titles: Annotated[Path | None, typer.Option(help="As --source-titles.")] = None,
    target_items: Annotated[
        Path | None,
        typer.Option(help="Instead of --target-titles: item_id, title, and further columns, kept as attributes."),
    ] = None,
    source_title_columns: SourceTitleColumns = None,
    target_title_columns: TargetTitleColumns = None,
    accept: Accept = None,
    exclude_users: Annotated[
        Path | None,
        typer.Option(help="Users to leave out of both domains: ids, as `diffcdr erasures --out` writes them."),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Events that users sent since, to learn from too, from `diffcdr events export --out`."),
    ] = None,
    event_weights: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE=WEIGHT,…",
            help="Weights of events without a rating, from 0 (left out) to 1 (the best rating); default: purchase=1.",
        ),
    ] = None,
    held_out: Annotated[
        HeldOutUsers,
        typer.Option(
            help="Serve the users held out for the figures with their target ratings (known), or as measured (cold)."
        ),
    ] = "known",
    histories: Annotated[
        bool,
        typer.Option(
            "--histories/--no-histories",
            help="Keep users' source ratings for the console; a sparse term keeps the rated items in any case.",
        ),
    ] = True,
    checkpoint: Annotated[Path | None, typer.Option(help="Directory for checkpoints of the training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the state in --checkpoint.")] = False,
    approximate_above: Annotated[
        int | None,
        typer.Option(metavar="ITEMS", min=1, help="With more target items than this, search by an approximate index."),
    ] = None,
    recall_floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of the exact best 20 that the index must find.")
    ] = DEFAULT_FLOOR,
    tensorboard: TensorBoard = None,
    mlflow: MLflow = None,
) -> None:
    """Train on two rating files and publish a bundle."""
    # Everything that can be wrong with the command itself is found before the first file is read.
    plan = TrainPlan.parse(
        preset,
        settings or [],
        test_fraction=test_fraction,
        split=split,
        model=model,
        models=models,
        select=select,
        paper_grid=grid,
        grid_values=grid_values or [],
        positive_threshold=positive_threshold,
    )
    start = choose_start(
        DomainOptions(
            "source", source, source_columns, source_titles, source_separator, source_range, source_title_columns
        ),
        DomainOptions(
            "target",
            target,
            target_columns,
            target_titles,
            target_separator,
            target_range,
            target_title_columns,
            target_items,
        ),
        tables=tables,
        exclude_users=exclude_users,
        common=CommonOptions(rating_range, encoding, accept or []),
        events=events,
        event_weights=event_weights,
    )
    check_destination(bundle)
    index = None
    if approximate_above is not None:
        load_faiss()
        index = IndexOptions(above=approximate_above, floor=recall_floor)
    ready_checkpoints(checkpoint, resume=resume)
    trackers = open_trackers(tensorboard=tensorboard, mlflow=mlflow)

    reporter = Reporter()
    run = Run(
        config=plan.config,
        seed=seed,
        rating_range=DEFAULT_RANGE,
        checkpoints=checkpoint,
        watch=lambda step, epochs: epoch_bar(reporter, step, epochs),
    )
    with ExitStack() as stack, one_thread():
        loaded = load(reporter, start, run)
        pair, run = loaded.pair, loaded.run
        plan, left_out = plan.suited_to(pair, index=index)
        for sentence in left_out:
            reporter.note(sentence)
        for warning in check_plan(plan, pair, seed=seed, accept=accept or []):
            reporter.warn(warning)
        release_space = stack.enter_context(reserving_space(bundle, pair, histories=histories))
        with trackers.run(bundle.name, run.config.model_dump(mode="json")) as tracking:
            run = replace(run, watch=tracking.watch(run.watch))
            prepared = prepare(pair, run)
            for sentence in (*split_notes(prepared), *plan.grids.cost(plan.models)):
                reporter.note(sentence)
            trained = train_models(plan, prepared, run)
            for name, figures in trained.validation.items():
                tracking.final("validation", name, figures.as_dict())
                tracking.final("test", name, trained.test[name].as_dict())
        show_tunings(reporter, trained.tunings)
        if select is not None:
            reporter.note(f"{trained.published} has the best {select} on validation users")
        elif plan.on_evidence:
            for sentence in evidence_notes(trained.published, trained.validation):
                reporter.note(sentence)
        release_space()
        with reporter.task("publish", total=len(STEPS), unit="steps", estimate=no_estimate) as task:
            bundle_id = trained.publish(bundle, held_out=held_out, histories=histories, index=index, on_step=task.begin)
            task.advance()
    _show_models(reporter, trained)
    if not has_onnx_runtime() and (bundle / ONNX_FILE).exists():
        reporter.note("ONNX Runtime is not installed here: its graph was checked by ONNX's reference evaluator")
    reporter.note(f"published {trained.published} as {bundle} (bundle {bundle_id[:12]})")
    reporter.note(f"next: diffcdr serve --bundle {bundle}")


def _show_models(reporter: Reporter, trained: Trained) -> None:
    name, test = trained.published, trained.test
    cut = trained.prepared.cut
    title = f"On {test[name].users:,} test users{'' if cut is None else f' who came after {cut}'} (* best)"
    reporter.table(title, *metrics_table(test), emphasised=[list(test).index(name)])
    report = trained.fitted[name].report
    if len(report.epochs) > 1:  # a closed form has but one
        reporter.note(f"{name}: kept epoch {report.best_epoch} of {len(report.epochs)}")
    for warning in honest_warnings(name, test):
        reporter.warn(warning)
