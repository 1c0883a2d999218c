"""The closed-form baselines on tables small enough to work out by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tests.unit.training.rating_tables import rating_table
from training.models.baselines.bias import Bias, BiasConfig
from training.models.baselines.mean import Mean, MeanConfig
from training.models.baselines.popular import Popular, PopularConfig
from training.models.table_model import shrunk_biases
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable


def table(rows: list[tuple[int, int, float]], *, users: int, items: int) -> RatingTable:
    columns = list(zip(*rows, strict=True))
    return rating_table(torch.tensor(columns[0]), torch.tensor(columns[1]), torch.tensor(columns[2]), users, items)


def problem(target: RatingTable, validation: RatingTable) -> TransferProblem:
    base = FactorTables(torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), 0.0)
    # User 0 rates one above, user 1 one below, and each item is rated by both: item biases are zero, the mean 3.
    source = table([(0, 0, 4.0), (0, 1, 4.0), (1, 0, 2.0), (1, 1, 2.0)], users=2, items=2)
    return TransferProblem(
        source=source,
        target=target,
        source_base=base,
        target_base=base,
        overlap_source=torch.tensor([0]),
        overlap_target=torch.tensor([0]),
        validation=HeldOut(torch.tensor([0, 1]), validation),
        rating_range=(1.0, 5.0),
    )


TARGET = table([(0, 0, 5.0), (1, 0, 5.0), (2, 0, 2.0), (0, 1, 2.0), (1, 1, 2.0), (0, 2, 2.0)], users=3, items=3)
# Around the item means 4 and 2: user 0 is 0.5 above, user 1 0.5 below, so half of the source bias is right.
VALIDATION = table([(0, 0, 4.5), (0, 1, 2.5), (1, 0, 3.5), (1, 1, 1.5)], users=2, items=3)


def test_biases_are_shrunk_means() -> None:
    biases = shrunk_biases(torch.tensor([0, 0, 2]), torch.tensor([1.0, 2.0, -4.0]), count=4, shrinkage=1.0)
    torch.testing.assert_close(biases, torch.tensor([1.0, 0.0, -2.0, 0.0]))
    plain = shrunk_biases(torch.tensor([0, 0, 2]), torch.tensor([1.0, 2.0, -4.0]), count=4, shrinkage=0.0)
    torch.testing.assert_close(plain, torch.tensor([1.5, 0.0, -4.0, 0.0]))


def test_bias_by_hand() -> None:
    model = Bias(BiasConfig(item_shrinkages=(0.0,), user_shrinkages=(0.0,)))
    model.fit(problem(TARGET, VALIDATION), generator=torch.Generator())
    assert model.details()["weight"] == 0.5
    torch.testing.assert_close(model.source_vectors(), torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(model.head().item_biases, torch.tensor([1.0, -1.0, -1.0]))
    assert model.head().offset == 3.0
    torch.testing.assert_close(model.transfer(model.source_vectors()), torch.tensor([[0.5], [-0.5]]))


def test_the_shrinkages_of_the_bias_model_are_the_validation_users_choice() -> None:
    config = BiasConfig(item_shrinkages=(5.0, 0.0, 1.0), user_shrinkages=(5.0, 0.0), weights=(0.5, 1.0))
    tuned = Bias(config)
    tuned.fit(problem(TARGET, VALIDATION), generator=torch.Generator())
    errors = {}
    for choice in product(config.item_shrinkages, config.user_shrinkages, config.weights):
        single = BiasConfig(item_shrinkages=choice[:1], user_shrinkages=choice[1:2], weights=choice[2:])
        report = Bias(single).fit(problem(TARGET, VALIDATION), generator=torch.Generator())
        errors[choice] = report.epochs[0]["rmse"]
    best = min(errors, key=lambda choice: errors[choice])
    details = tuned.details()
    assert (details["item_shrinkage"], details["user_shrinkage"], details["weight"]) == best
    assert best != (5.0, 5.0, 1.0)
    fold = tuned.source_fold().spec
    assert fold.regularisation == (best[1],)
    # Without validation ratings nothing is chosen.
    blind = Bias(config)
    blind.fit(problem(TARGET, VALIDATION.take(VALIDATION.ratings > 9)), generator=torch.Generator())
    assert (blind.details()["item_shrinkage"], blind.details()["weight"]) == (5.0, 1.0)


def test_mean_by_hand() -> None:
    model = Mean(MeanConfig())
    report = model.fit(problem(TARGET, VALIDATION), generator=torch.Generator())
    assert model.head().offset == 3.0
    assert report.epochs[0]["mae"] == pytest.approx((1.5 + 0.5 + 0.5 + 1.5) / 4)


def test_popular_list_keeps_its_order_where_popular_items_are_rated_lower() -> None:
    # Item 2 is rated most, and worst.
    target = table([(0, 0, 5.0), (0, 1, 4.0), (1, 1, 4.0), (0, 2, 1.0), (1, 2, 1.0), (2, 2, 1.0)], users=3, items=4)
    model = Popular(PopularConfig())
    model.fit(problem(target, VALIDATION), generator=torch.Generator())
    assert torch.argsort(model.head().item_biases, descending=True).tolist() == [2, 1, 0, 3]


def test_popular_list_predicts_ratings_where_popular_items_are_rated_higher() -> None:
    model = Popular(PopularConfig())
    model.fit(problem(TARGET, VALIDATION), generator=torch.Generator())
    # Counts 3, 2, 1 are at popularity 1, 1/2, 0; least squares over the six ratings: slope 2.4 around mean 2/3.
    expected = 2.4 * (torch.tensor([1.0, 0.5, 0.0]) - 2.0 / 3.0)
    torch.testing.assert_close(model.head().item_biases, expected)
