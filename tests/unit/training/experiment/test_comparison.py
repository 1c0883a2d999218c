from __future__ import annotations

import pytest

from tests.unit.training.experiment.samples import result
from training.experiment.comparison import compare
from training.experiment.statistics import holm
from training.experiment.summaries import Summaries


def test_the_best_baseline_is_chosen_per_metric_and_fraction() -> None:
    rows = []
    for seed, noise in enumerate((0.0, 0.01, 0.03)):
        rows += [
            result("diffcdr", seed=seed, rmse=0.8, ndcg=0.30),
            result("bias", seed=seed, rmse=1.0 + noise, ndcg=0.10),
            result("popular", seed=seed, rmse=None, ndcg=0.40 + noise),
            result("diffcdr-da", seed=seed, rmse=0.1, ndcg=0.9),
            result("diffcdr", seed=seed, test_fraction=0.5, rmse=0.8, ndcg=0.3),
            result("bias", seed=seed, test_fraction=0.5, rmse=0.4, ndcg=0.1),
            result("diffcdr", seed=seed, scenario="warm", rmse=9.0),
            result("bias", seed=seed, scenario="warm", rmse=0.1),
        ]
    found = compare(Summaries(rows), "diffcdr", baselines=["bias", "popular", "diffcdr"], scenario="cold")
    by_place = {(each.test_fraction, each.metric.field): each for each in found}
    assert len(by_place) == len(found) == 14
    error, ranking = by_place[0.2, "rmse"], by_place[0.2, "ndcg"]
    assert (error.baseline, ranking.baseline) == ("bias", "popular")
    mean = 1.0 + 0.04 / 3
    assert error.improvement == pytest.approx((mean - 0.8) / mean)
    assert ranking.improvement == pytest.approx(0.3 / (0.4 + 0.04 / 3) - 1)
    assert by_place[0.5, "rmse"].improvement == pytest.approx(-1.0)
    assert [each.p_holm for each in found] == holm([each.p for each in found])


def test_without_the_model_or_a_baseline_nothing_is_compared() -> None:
    assert compare(Summaries([result("bias")]), "diffcdr", baselines=["bias"], scenario="cold") == []
    assert compare(Summaries([result("diffcdr")]), "diffcdr", baselines=["diffcdr"], scenario="cold") == []
