from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcdr.errors import InputError
from diffcdr.search.topk import MaskedRows
from tests.unit.training.rating_tables import rating_table
from training.evaluation.beyond import BeyondAccuracy
from training.evaluation.evaluate import Metrics, evaluate_vectors, predict
from training.evaluation.uncertainty import StandardErrors
from training.fitting.loop import FitReport
from training.models.contract import TransferModel
from training.problem import HeldOut, ScoringHead
from training.run.fit import evaluate


class Linear(TransferModel):
    """Source vectors times a matrix, against given items."""

    name = "linear"

    def __init__(self, vectors: Tensor, matrix: Tensor, items: ScoringHead) -> None:
        self._vectors, self._matrix, self._items = vectors, matrix, items

    def fit(self, problem: Any, *, generator: torch.Generator, progress: Any = None) -> FitReport:
        return FitReport()

    def source_vectors(self) -> Tensor:
        return self._vectors

    def transfer(self, vectors: Tensor) -> Tensor:
        return vectors @ self._matrix

    def head(self) -> ScoringHead:
        return self._items


def planted() -> tuple[Linear, HeldOut]:
    """Three source users, two of them held out; items 0..2 with known ratings."""
    vectors = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]])
    items = ScoringHead(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 0.5, -2.0]), offset=3.0)
    held = HeldOut(
        source_rows=torch.tensor([1, 2]),
        ratings=rating_table(
            torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), torch.tensor([4.0, 2.0, 5.0]), n_users=2, n_items=3
        ),
    )
    return Linear(vectors, torch.eye(2), items), held


def test_hand_worked_example() -> None:
    model, held = planted()
    # Predictions: user 0: 3+0+1 = 4, 3-2+1 = 2; user 1: 3+0.5+2 = 5.5.
    assert predict(np.array([[1.0, 0.0], [0.0, 2.0]]), model.head(), held.ratings).tolist() == [4.0, 2.0, 5.5]
    metrics = evaluate(model, held, rating_range=(1.0, 5.0), k=1)
    assert metrics == Metrics(
        mae=pytest.approx(0.5 / 3),
        rmse=pytest.approx(np.sqrt(0.25 / 3)),
        mae_clipped=0.0,
        rmse_clipped=0.0,
        ndcg=1.0,
        hr=1.0,
        recall=pytest.approx(0.75),
        k=1,
        users=2,
        ratings=3,
        # Of absolute errors 0 and 0 of one user, 0.5 of the other; recall is 0.5 and 1.
        standard_errors=StandardErrors(
            mae=pytest.approx(2 / 9),
            rmse=pytest.approx(1 / 9 / (2 * np.sqrt(0.25 / 3))),
            mae_clipped=0.0,
            rmse_clipped=0.0,
            ndcg=0.0,
            hr=0.0,
            recall=pytest.approx(0.25),
        ),
    )
    assert metrics.errors_as_dict().keys() == metrics.as_dict().keys()
    assert list(metrics.as_dict()) == ["mae", "rmse", "mae_clipped", "rmse_clipped", "ndcg@1", "hr@1", "recall@1"]


def test_figures_beyond_accuracy_are_of_the_lists_that_are_judged_where_training_ratings_are_given() -> None:
    model, held = planted()
    known = rating_table(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([5.0, 4.0]), n_users=2, n_items=3)
    metrics = evaluate(model, held, rating_range=(1.0, 5.0), k=1, known=known)
    # The lists are [0] and [1]: two of three items, one of them the most popular.
    assert metrics.beyond == BeyondAccuracy(
        coverage=pytest.approx(2 / 3), novelty=0.5, gini=pytest.approx(1 / 3), head_share=0.5, similarity=0.0
    )
    assert metrics.as_dict()["coverage@1"] == pytest.approx(2 / 3)
    assert {name for name in metrics.as_dict() if name.endswith("@1")} >= {"novelty@1", "gini@1", "similarity@1"}


def test_seen_items_are_not_candidates() -> None:
    model, held = planted()
    seen = MaskedRows.pack([np.array([0]), np.array([], dtype=np.int64)])
    # User 0's best item is hidden: item 1 (3.5) leads, item 2 (2.0) is the one that is relevant.
    vectors = model.transfer(model.source_vectors()[held.source_rows]).numpy()
    limits = (1.0, 5.0)
    figures = evaluate_vectors(vectors, model.head(), held.ratings, name="planted", rating_range=limits, k=1, seen=seen)
    assert figures.hr == 0.5


def test_a_diverged_model_is_an_error() -> None:
    model, held = planted()
    broken = Linear(model.source_vectors(), torch.full((2, 2), torch.inf), model.head())
    with pytest.raises(InputError, match="linear model .* diverged"):
        evaluate(broken, held, rating_range=(1.0, 5.0))
