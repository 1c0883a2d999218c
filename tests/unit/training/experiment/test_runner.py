import os
import signal
import threading
from dataclasses import replace
from multiprocessing import active_children

import pytest

from diffcdr.errors import DiffCDRError
from tests.unit.training.tiny import quick_config
from tests.waiting import until
from training.data.domains import DomainPair
from training.experiment.plan import Cell, Grid, Setup
from training.experiment.results import CellResult
from training.experiment.runner import Failure, Outcome, run_blocks
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import prepare
from training.run.run import Run

GRID = Grid(("bias", "emcdr"), (0.5,), 2, ("cold", "warm"))
TIMES = {"train_rate": None, "transfer_rate": 0.0, "served_rate": None, "seconds": 0.0}


def timeless(outcome: Outcome) -> CellResult:
    assert isinstance(outcome, CellResult)
    return outcome.model_copy(update=TIMES)


@pytest.fixture(scope="module")
def everything(pair: DomainPair, setup: Setup) -> list[CellResult]:
    return [timeless(outcome) for outcome in run_blocks(pair, setup, GRID.blocks(), jobs=1)]


def test_every_cell_is_what_the_pipeline_gives(pair: DomainPair, setup: Setup, everything: list[CellResult]) -> None:
    assert [result.cell for result in everything] == GRID.cells()
    run = Run(config=setup.config_at(0.5), seed=1, rating_range=setup.rating_range)
    prepared = prepare(pair, run)
    metrics = evaluate_test(fit_model("emcdr", prepared, run), prepared)
    (mine,) = (result for result in everything if result.cell == Cell(0.5, 1, "emcdr", "cold"))
    assert (mine.rmse, mine.ndcg, mine.users) == (metrics.rmse, metrics.ndcg, metrics.users)
    assert len(mine.epochs) == 2


def test_several_processes_and_a_run_that_goes_on_give_the_same(
    pair: DomainPair, setup: Setup, everything: list[CellResult]
) -> None:
    done = GRID.cells()[:3]  # stopped between the two scenarios of a model
    rest = [timeless(each) for each in run_blocks(pair, setup, GRID.blocks(finished=done), jobs=2)]
    assert sorted([*everything[:3], *rest], key=lambda each: each.cell) == sorted(
        everything, key=lambda each: each.cell
    )
    assert not active_children()


def test_a_model_that_fails_stops_no_other(pair: DomainPair, setup: Setup) -> None:
    broken = replace(setup, config=quick_config("emcdr.lr=1e30"))
    outcomes = list(run_blocks(pair, broken, Grid(("bias", "emcdr"), (0.2,), 2).blocks(), jobs=1))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [failure.cells for failure in failures] == [(Cell(0.2, seed, "emcdr", "cold"),) for seed in (0, 1)]
    assert all("diverged" in failure.reason for failure in failures)
    assert [outcome.model for outcome in outcomes if isinstance(outcome, CellResult)] == ["bias", "bias"]


def test_base_models_that_fail_take_their_block_along(pair: DomainPair, setup: Setup) -> None:
    broken = replace(setup, config=quick_config("base.lr=1e30"))
    (failure,) = run_blocks(pair, broken, Grid(("mean", "bias"), (0.2,), 1, ("cold", "warm")).blocks(), jobs=1)
    assert isinstance(failure, Failure)
    assert len(failure.cells) == 4


def test_a_killed_worker_is_reported_and_leaves_nothing_running(pair: DomainPair, setup: Setup) -> None:
    slow = replace(setup, config=quick_config("emcdr.epochs=1000000"))

    def kill() -> None:
        os.kill(until(active_children)[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(DiffCDRError, match="killed by signal 9.*to go on"):
        list(run_blocks(pair, slow, Grid(("emcdr",), (0.2,), 2).blocks(), jobs=2))
    killer.join()
    assert not active_children()


def test_nothing_left_to_do(pair: DomainPair, setup: Setup) -> None:
    for jobs in (1, 4):
        assert list(run_blocks(pair, setup, [], jobs=jobs)) == []
