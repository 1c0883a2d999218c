from __future__ import annotations

import pytest

from tests.unit.training.experiment.samples import result
from training.experiment.statistics import METRICS
from training.experiment.summaries import Rates, Summaries

BY_FIELD = {metric.field: metric for metric in METRICS}


def test_figures_are_grouped_by_part_of_the_grid() -> None:
    found = Summaries(
        [
            result("diffcdr", seed=0, rmse=1.0),
            result("diffcdr", seed=1, rmse=2.0),
            result("popular", rmse=None),
            result("diffcdr", scenario="warm", rmse=7.0),
            result("bias", test_fraction=0.5, rmse=9.0),
        ]
    )
    assert (found.fractions("cold"), found.fractions("warm")) == ([0.2, 0.5], [0.2])
    assert (found.models("cold"), found.models("warm")) == (["diffcdr", "popular", "bias"], ["diffcdr"])
    figures = found.figures(BY_FIELD["rmse"], 0.2, "cold")
    assert list(figures) == ["diffcdr"]
    assert (figures["diffcdr"].mean, figures["diffcdr"].error, figures["diffcdr"].n) == (1.5, 0.5, 2)
    assert list(found.figures(BY_FIELD["ndcg"], 0.2, "cold")) == ["diffcdr", "popular"]
    assert found.by_seed(BY_FIELD["rmse"], 0.2, "cold") == {"diffcdr": {0: 1.0, 1: 2.0}}
    assert {model: len(cells) for model, cells in found.cells(0.2, "cold").items()} == {"diffcdr": 2, "popular": 1}
    assert not found.cells(0.8, "cold")
    assert not found.figures(BY_FIELD["rmse"], 0.8, "warm")


def test_rates_are_means_over_cold_cells() -> None:
    found = Summaries(
        [
            result("diffcdr", seed=0, train_rate=10.0, transfer_rate=1.0, seconds=2.0, served_rate=7.0),
            result("diffcdr", seed=1, train_rate=20.0, transfer_rate=3.0, seconds=4.0),
            result("diffcdr", scenario="warm", train_rate=1e9),
            result("mean", train_rate=None, seconds=1.0),
        ]
    ).rates()
    assert found["diffcdr"] == Rates(train=15.0, transfer=2.0, served=7.0, seconds=3.0)
    assert found["mean"].train is None
    assert found["mean"].served is None
    assert found["mean"].seconds == pytest.approx(1.0)
