"""A model with a sparse term, through every place that ranks or predicts with a model's head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from diffcdr.bundle.manifest import WarmSpec
from diffcdr.errors import DiffCDRError
from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import rating_table
from training.evaluation.judging import Judge, held_out_figures
from training.evaluation.ranking import UserLists, ranking_metrics
from training.models.contract import TransferModel
from training.models.sparse_term import SparseTerm, source_histories, sparse_part
from training.models.table_model import Tables, TabularModel
from training.problem import HeldOut, ScoringHead, TransferProblem
from training.rating_table import RatingTable
from training.run.fit import evaluate, evaluate_sampled
from training.run.warm_start import Halves


class Neighbourly(TabularModel):
    """The popular list and a drawn table of neighbours."""

    name = "neighbourly"

    def __init__(self, objective: Any = "ranking") -> None:
        super().__init__()
        self._objective = objective

    def solve(self, problem: TransferProblem, *, generator: torch.Generator) -> Tables:
        n_source, n_target = problem.source.n_items, problem.target.n_items
        rng = np.random.default_rng(1)
        values = np.where(rng.random((n_source, n_target)) < 0.3, rng.random((n_source, n_target)), 0.0)
        counts = torch.from_numpy(problem.target.item_sums()).float()
        return Tables(
            source_vectors=torch.zeros(problem.source.n_users, 1),
            matrix=torch.zeros(1, 1),
            head=ScoringHead(torch.zeros(n_target, 1), counts / counts.sum(), 0.5, self._objective),
            sparse_term=SparseTerm(
                rng.random(n_source).astype(np.float32) + 0.1, 1.0, sparse.csr_array(values.astype(np.float32))
            ),
        )


def full_product(model: TransferModel, source: RatingTable, rows: Tensor) -> np.ndarray[Any, Any]:
    """Scores float64 [U, n_target] by matrices."""
    term, head = model.sparse_term(), model.head()
    assert term is not None
    binary = np.zeros((source.n_users, source.n_items))
    binary[source.users, source.items] = 1.0
    weighted = binary[rows.numpy()] * term.item_weights
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    weighted /= np.where(lengths > 0, lengths, 1.0) ** term.length_power
    return np.asarray(weighted @ term.neighbours.toarray() + head.item_biases.numpy() + head.offset)


@pytest.fixture(scope="module")
def data() -> Any:
    return planted()


def fitted(problem: TransferProblem, objective: Any = "ranking") -> Neighbourly:
    model = Neighbourly(objective)
    model.fit(problem, generator=torch.Generator())
    return model


def test_lists_are_those_of_the_full_product(data: Any) -> None:
    problem, test = data.problem, data.test
    model = fitted(problem)
    scores = full_product(model, problem.source, test.source_rows)
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    table = test.ratings
    relevant = UserLists.build(table.users, table.items, n_users=len(test.source_rows))
    wanted = ranking_metrics(lists, relevant).ndcg.mean()
    found = evaluate(model, test, rating_range=(1.0, 5.0), k=5, source=problem.source)
    assert found.ndcg == pytest.approx(wanted)
    part = sparse_part(model.sparse_term(), problem.source, test.source_rows)
    zeros = torch.zeros(len(test.source_rows), 1)
    assert (
        Judge(test, head=model.head(), rating_range=(1.0, 5.0))(zeros, sparse=part)
        == held_out_figures(zeros, test, head=model.head(), rating_range=(1.0, 5.0), sparse=part)["ndcg"]
    )
    plain = evaluate_sampled(model, test, negatives=5, seed=0, source=problem.source)
    assert 0.0 < plain.ndcg <= plain.hr


def test_predicted_ratings_hold_the_term(data: Any) -> None:
    problem, test = data.problem, data.test
    model = fitted(problem, "rating")
    scores = full_product(model, problem.source, test.source_rows)
    errors = scores[test.ratings.users, test.ratings.items] - test.ratings.ratings
    found = evaluate(model, test, rating_range=(-99.0, 99.0), source=problem.source)
    assert found.rmse == pytest.approx(np.sqrt(np.square(errors).mean()))
    zeros = torch.zeros(len(test.source_rows), 1)
    part = sparse_part(model.sparse_term(), problem.source, test.source_rows)
    figures = held_out_figures(zeros, test, head=model.head(), rating_range=(-99.0, 99.0), sparse=part)
    assert figures["rmse"] == pytest.approx(found.rmse, rel=1e-6)


def test_a_term_is_never_left_out_without_a_word(data: Any) -> None:
    model = fitted(data.problem)
    with pytest.raises(DiffCDRError, match="neighbourly model scores by source histories too"):
        evaluate(model, data.test, rating_range=(1.0, 5.0))


def test_histories_are_each_users_own_items() -> None:
    table = rating_table(
        torch.tensor([0, 0, 2, 2, 2]), torch.tensor([1, 3, 0, 2, 3]), torch.ones(5), n_users=4, n_items=4
    )
    found = source_histories(table, torch.tensor([2, 1, 0, 3, 2]))
    assert found.indptr.tolist() == [0, 3, 3, 5, 5, 8]
    assert found.rows.tolist() == [0, 2, 3, 1, 3, 0, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_weights": np.ones(3, np.float32)}, "as many weights"),
        ({"item_weights": np.ones(2)}, "float64"),
        ({"item_weights": np.array([1, -1], np.float32)}, "item weights"),
        ({"item_weights": np.array([1, np.nan], np.float32)}, "item weights"),
        ({"length_power": 3.0}, "length_power"),
        ({"neighbours": sparse.csr_array(np.array([[1, 0, -1], [0, 0, 1]], np.float32))}, "above 0"),
        ({"neighbours": sparse.csr_array(np.array([[1, 0, np.inf], [0, 0, 1]], np.float32))}, "above 0"),
    ],
)
def test_a_term_that_cannot_be_served_is_refused(change: dict[str, Any], message: str) -> None:
    term = SparseTerm(np.ones(2, np.float32), 1.0, sparse.csr_array(np.array([[1, 0, 2], [0, 0, 1]], np.float32)))
    with pytest.raises(DiffCDRError, match=message):
        replace(term, **change)


def test_warm_users_keep_it_in_the_halves(data: Any) -> None:
    test: HeldOut = data.test
    halves = Halves(test.source_rows, test.ratings, test.ratings, np.zeros(len(test.ratings), np.int64))
    part = halves.part(fitted(data.problem), data.problem.source)
    assert part is not None and len(part) == len(test.source_rows)
    assert WarmSpec(kind="als", strength=1.0).sparse
