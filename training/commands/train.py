"""``diffcdr train``: two rating files in, one published bundle out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from diffcdr.search.approximate import DEFAULT_FLOOR, load_faiss
from diffcdr.search.build_index import IndexOptions
from training.commands.options import (
    MLflow,
    OwnGrids,
    PaperGrids,
    RatingRange,
    Settings,
    SourceColumns,
    TargetColumns,
    TensorBoard,
    parse_rating_range,
    show_data,
)
from training.commands.screen import epoch_bar, honest_warnings, metrics_table, show_tunings
from training.commands.sources import GivenSource, GivenTables, GivenTarget, choose_start
from training.config import TrainConfig, load_preset
from training.evaluation.evaluate import Metrics
from training.export.bundle import RunFacts, check_destination, publish_bundle
from training.models.registry import MODELS
from training.run.data_checks import check_data
from training.run.grids import parse_grids
from training.run.model_choice import champion, check_metric, parse_models
from training.run.prepare import (
    PLAIN_BASELINES,
    FittedModel,
    Run,
    clear_checkpoints,
    evaluate_test,
    prepare,
)
from training.run.tuning import fit_tuned
from training.trackers.opening import open_trackers


def train(
    bundle: Annotated[Path, typer.Option(help="Directory to publish to; a bundle already there is replaced whole.")],
    preset: Annotated[
        str,
        typer.Option(help="Named settings: ranking (lists), robust (ratings), reference (released code) or paper."),
    ] = "ranking",
    source: GivenSource = None,
    target: GivenTarget = None,
    tables: GivenTables = None,
    model: Annotated[str, typer.Option(help="The model to publish.")] = "diffcdr",
    models: Annotated[
        str, typer.Option(help="Models to train beside it: plain (mean,bias,popular), all, or a comma-separated list.")
    ] = "plain",
    select: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Publish the model best in this on validation users, such as ndcg@20."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every random choice.")] = 0,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of overlap users held out to measure on (beta); else the preset's.")
    ] = None,
    settings: Settings = None,
    grid: PaperGrids = False,
    grid_values: OwnGrids = None,
    source_columns: SourceColumns = None,
    target_columns: TargetColumns = None,
    rating_range: RatingRange = "1,5",
    source_titles: Annotated[Path | None, typer.Option(help="Titles: a file with item_id and title.")] = None,
    target_titles: Annotated[Path | None, typer.Option(help="As --source-titles.")] = None,
    exclude_users: Annotated[
        Path | None,
        typer.Option(help="Users to leave out of both domains: ids, as `diffcdr erasures --out` writes them."),
    ] = None,
    histories: Annotated[
        bool, typer.Option("--histories/--no-histories", help="Keep who rated what in the source, for the console.")
    ] = True,
    checkpoint: Annotated[Path | None, typer.Option(help="Directory to keep the state of training in.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in --checkpoint.")] = False,
    approximate_above: Annotated[
        int | None,
        typer.Option(metavar="ITEMS", min=1, help="With more target items, search by an approximate index."),
    ] = None,
    recall_floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of the exact best 20 that the index has to find.")
    ] = DEFAULT_FLOOR,
    tensorboard: TensorBoard = None,
    mlflow: MLflow = None,
) -> None:
    """Train on two rating files and publish a bundle."""
    # Everything that can be wrong with the command itself is found before the first file is read.
    overrides = [*(settings or []), *([] if test_fraction is None else [f"split.test_fraction={test_fraction}"])]
    config = load_preset(preset, overrides)
    names = choose_models(config, publish=model, others=models)
    grids = parse_grids(preset, overrides, paper=grid, own=grid_values or [], models=names)
    if select is not None:
        check_metric(select)
    start = choose_start(
        (source, source_columns, source_titles),
        (target, target_columns, target_titles),
        tables=tables,
        exclude_users=exclude_users,
    )
    check_destination(bundle)
    index = None
    if approximate_above is not None:
        load_faiss()
        index = IndexOptions(above=approximate_above, floor=recall_floor)
    _check_checkpoints(checkpoint, resume=resume)
    trackers = open_trackers(tensorboard=tensorboard, mlflow=mlflow)
    # The tables are small and the batches smaller: a second thread costs more than it brings, and with it sums
    # would depend on the number of cores.
    torch.set_num_threads(1)

    reporter = Reporter()
    run = Run(
        config=config,
        seed=seed,
        rating_range=parse_rating_range(rating_range),
        checkpoints=checkpoint,
        watch=lambda step, epochs: epoch_bar(reporter, step, epochs),
    )
    pair, run = start.load(run, reporter)
    show_data(reporter, pair)
    for warning in check_data(pair, config, models=names, test_fractions=[config.split.test_fraction], seeds=[seed]):
        reporter.warn(warning)
    with trackers.run(bundle.name, run.config.model_dump(mode="json")) as tracking:
        run = replace(run, watch=tracking.watch(run.watch))
        prepared = prepare(pair, run)
        for sentence in grids.cost(names):
            reporter.note(sentence)
        tuned = {name: fit_tuned(name, prepared, run, grids) for name in names}
        fitted = {name: each.fitted for name, each in tuned.items()}
        tunings = {name: each.tuning for name, each in tuned.items() if each.tuning is not None}
        show_tunings(reporter, tunings)
        validation = {name: each.validation for name, each in fitted.items()}
        if select is not None:
            model = champion(validation, select)
            reporter.note(f"{model} has the best {select} on validation users")
        test = {name: evaluate_test(each, prepared) for name, each in fitted.items()}
        for name, figures in validation.items():
            tracking.final("validation", name, figures.as_dict())
            tracking.final("test", name, test[name].as_dict())
    metrics = {"validation": validation, "test": test}
    facts = RunFacts(
        preset=preset,
        config=config,
        seed=seed,
        rating_range=run.rating_range,
        metrics=metrics,
        tuning=tunings,
        selected_by=select,
        histories=histories,
        index=index,
    )
    with reporter.task("export, check and write", total=1, unit="bundle") as task:
        others = [each for name, each in fitted.items() if name != model]
        bundle_id = publish_bundle(fitted[model], prepared, facts, destination=bundle, others=others)
        task.advance()
    _show_models(reporter, model, fitted[model], test)
    reporter.note(f"published {model} as {bundle} (bundle {bundle_id[:12]})")
    reporter.note(f"next: diffcdr serve --bundle {bundle}")


def choose_models(config: TrainConfig, *, publish: str, others: str) -> list[str]:
    """Names of the models to train, in the order of ``MODELS``: ``publish``, the plain baselines and ``others``.

    Raises:
        InputError: a name is not a model's.
    """
    wanted = {*parse_models(publish, config), *PLAIN_BASELINES}
    if others != "plain":
        wanted.update(parse_models(others, config))
    return [name for name in MODELS if name in wanted]


def _check_checkpoints(directory: Path | None, *, resume: bool) -> None:
    if directory is None:
        if resume:
            raise InputError("--resume needs --checkpoint DIR, the directory of the run to go on from")
    elif not resume:
        clear_checkpoints(directory)


def _show_models(reporter: Reporter, name: str, published: FittedModel, test: dict[str, Metrics]) -> None:
    users = test[name].users
    reporter.table(f"On {users:,} test users (* best)", *metrics_table(test), emphasised=[list(test).index(name)])
    reporter.note(f"{name}: kept epoch {published.report.best_epoch} of {len(published.report.epochs)}")
    for warning in honest_warnings(name, test):
        reporter.warn(warning)
