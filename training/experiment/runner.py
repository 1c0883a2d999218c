"""Computes the blocks of a grid, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue

import torch

from diffcdr.errors import DiffCDRError
from diffcdr.installation import library_versions
from training.base_models.config import MFConfig
from training.data.domains import DomainPair
from training.evaluation.evaluate import Metrics
from training.experiment.plan import Block, Cell, Scenario, Setup
from training.experiment.results import CellResult
from training.experiment.speed import served_rate, transfer_rate
from training.experiment.warm_scenario import WarmPoint, fine_tuned_figures, warm_figures
from training.models.contract import TransferModel
from training.run.fit import FittedModel, evaluate_sampled, evaluate_test
from training.run.prepare import Prepared, prepare
from training.run.run import Run
from training.run.tuning import fit_tuned

LIBRARIES = ("diffcdr", "numpy", "polars", "scipy", "torch")
POLL_S = 0.2


@dataclass(frozen=True)
class Failure:
    """Cells that could not be computed, and the sentence that says why."""

    cells: tuple[Cell, ...]
    reason: str


Outcome = CellResult | Failure


@dataclass(frozen=True)
class _Begun:
    """Word from a worker process: a model's cells have begun."""

    cell: Cell


Begin = Callable[[Cell], None]
"""Told of the first cell of each model of a block when the work on it begins."""

Keep = Callable[[Block, Prepared], dict[str, TransferModel] | None]
"""Told of each block's split and base models, where they are made in this process. Into what it answers, if anything,
go the models that are fitted on them, by name."""


def run_blocks(
    pair: DomainPair,
    setup: Setup,
    blocks: Sequence[Block],
    *,
    jobs: int,
    keep: Keep | None = None,
    begin: Begin = lambda cell: None,
) -> Iterator[Outcome]:
    """Compute ``blocks`` in up to ``jobs`` processes; yields each cell's outcome as soon as it is there.

    A result depends on its cell alone, never on ``jobs`` or on which cells are computed beside it, but for the speeds.

    Raises:
        DiffCDRError: a worker process was killed, most often for lack of memory.
    """
    workers = min(jobs, len(blocks))
    if workers > 1:
        for outcome in _in_processes(pair, setup, blocks, workers=workers):
            if isinstance(outcome, _Begun):
                begin(outcome.cell)
            else:
                yield outcome
        return
    torch.set_num_threads(1)
    for block in blocks:
        yield from run_block(pair, setup, block, keep=keep, begin=begin)


def run_block(
    pair: DomainPair,
    setup: Setup,
    block: Block,
    *,
    keep: Keep | None = None,
    begin: Begin = lambda cell: None,
) -> Iterator[Outcome]:
    """Split and base models once, then every model of the block, in order. What fails is yielded as a failure."""
    run = Run(
        config=setup.config_at(block.test_fraction),
        seed=block.seed,
        rating_range=setup.rating_range,
        source_range=setup.source_range,
    )
    try:
        prepared = prepare(pair, run)
    except DiffCDRError as error:
        yield Failure(tuple(block.cells()), str(error))
        return
    kept = None if keep is None else keep(block, prepared)
    for model, scenarios in block.models:
        left = list(scenarios)
        begin(Cell(block.test_fraction, block.seed, model, scenarios[0]))
        try:
            for result in _run_model(model, scenarios, prepared, run, setup, kept=kept):
                left.remove(result.scenario)
                yield result
        except DiffCDRError as error:
            yield Failure(tuple(Cell(block.test_fraction, block.seed, model, each) for each in left), str(error))


def _run_model(
    name: str,
    scenarios: Sequence[Scenario],
    prepared: Prepared,
    run: Run,
    setup: Setup,
    *,
    kept: dict[str, TransferModel] | None,
) -> Iterator[CellResult]:
    begun = time.perf_counter()
    tuned = fit_tuned(name, prepared, run, setup.grids)
    fitted = tuned.fitted
    training = time.perf_counter() - begun
    if kept is not None:
        kept[name] = fitted.model
    speed = transfer_rate(fitted.model, prepared.test.source_rows)
    # As a graph has to be exported for it, of one seed alone.
    served = served_rate(fitted.model, prepared.test.source_rows) if run.seed == 0 else None
    for scenario in scenarios:
        begun = time.perf_counter()
        points: tuple[WarmPoint, ...] = ()
        sampled, tuned_further = None, None
        if scenario == "cold":
            metrics = evaluate_test(fitted, prepared, detailed=True)
            if setup.sampled_negatives:
                sampled = evaluate_sampled(
                    fitted.model,
                    prepared.test,
                    negatives=setup.sampled_negatives,
                    seed=run.seed,
                    source=prepared.problem.source,
                )
        else:
            figures = warm_figures(fitted, prepared, seed=run.seed)
            metrics, points = figures.metrics, figures.points
            base = run.config.base
            negatives = base.negatives if isinstance(base, MFConfig) else 0
            tuned_further = fine_tuned_figures(fitted, prepared, seed=run.seed, negatives=negatives)
        seconds = training + time.perf_counter() - begun
        result = _result(fitted, metrics, scenario=scenario, speed=speed, seconds=seconds, run=run, setup=setup)
        update = {"first_ratings": points, "tuning": tuned.tuning, "sampled": sampled, "served_rate": served}
        yield result.model_copy(update=update | {"fine_tuned": tuned_further})


def _result(
    fitted: FittedModel,
    metrics: Metrics,
    *,
    scenario: Scenario,
    speed: float,
    seconds: float,
    run: Run,
    setup: Setup,
) -> CellResult:
    report = fitted.report
    return CellResult(
        model=fitted.name,
        preset=setup.preset,
        test_fraction=run.config.split.test_fraction,
        seed=run.seed,
        scenario=scenario,
        **metrics.accuracy(),
        train_rate=report.rows / report.seconds if report.rows and report.seconds > 0 else None,
        transfer_rate=speed,
        seconds=seconds,
        users=metrics.users,
        ratings=metrics.ratings,
        beyond=metrics.beyond,
        detail=metrics.detail,
        best_epoch=report.best_epoch,
        epochs=tuple(report.epochs),
        versions=_versions(),
    )


@cache
def _versions() -> dict[str, str]:
    return library_versions(LIBRARIES)


def _in_processes(
    pair: DomainPair, setup: Setup, blocks: Sequence[Block], *, workers: int
) -> Iterator[Outcome | _Begun]:
    # Spawned, not forked: torch and polars keep threads, which a fork would leave in an undefined state.
    context = multiprocessing.get_context("spawn")
    tasks: Queue[Block | None] = context.Queue()
    outcomes: Queue[Outcome | _Begun | None] = context.Queue()
    for task in (*blocks, *[None] * workers):
        tasks.put(task)
    processes = [
        context.Process(target=_work, args=(pair, setup, tasks, outcomes), daemon=True) for _ in range(workers)
    ]
    try:
        for process in processes:
            process.start()
        yield from _collect(processes, outcomes)
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _collect(processes: Sequence[BaseProcess], outcomes: Queue[Outcome | _Begun | None]) -> Iterator[Outcome | _Begun]:
    working = len(processes)
    while working:
        try:
            outcome = outcomes.get(timeout=POLL_S)
        except queue.Empty:
            _check_alive(processes)
            continue
        if outcome is None:
            working -= 1
        else:
            yield outcome


def _check_alive(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode is not None and process.exitcode < 0:
            raise DiffCDRError(
                f"a worker process was killed by signal {-process.exitcode}, most often for lack of memory; "
                "run the same command again to go on, with a smaller --jobs"
            )
        if process.exitcode:
            raise DiffCDRError("a worker process failed, for the reason shown above; this is a defect, report it")


def _work(pair: DomainPair, setup: Setup, tasks: Queue[Block | None], outcomes: Queue[Outcome | _Begun | None]) -> None:
    """The life of a worker process; says None at its end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for the command to report
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while (block := tasks.get()) is not None:
        for outcome in run_block(pair, setup, block, begin=lambda cell: outcomes.put(_Begun(cell))):
            outcomes.put(outcome)
    outcomes.put(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody would keep the results
