"""Base factorisation: its gradients, and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffcdr.errors import InputError
from tests.unit.training.rating_tables import rating_table
from training.base_models.config import MFConfig
from training.base_models.mf import MatrixFactorization, fit_mf
from training.problem import rating_tensors
from training.rating_table import RatingTable


def ratings(*, users: int = 60, items: int = 30, rank: int = 2, seed: int = 0) -> RatingTable:
    """Every pair rated, exactly of low rank with user and item biases around 3."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    table = 3.0 + 0.3 * normal(users, 1) + 0.3 * normal(items) + 0.4 * normal(users, rank) @ normal(rank, items)
    rows = torch.arange(users).repeat_interleave(items)
    return rating_table(rows, torch.arange(items).repeat(users), table.flatten(), users, items)


@pytest.mark.parametrize("biases", [True, False])
def test_gradients_are_those_of_the_loss(biases: bool) -> None:
    table = ratings(users=5, items=4)
    columns = rating_tensors(table)
    config = MFConfig(dim=3, biases=biases, weight_decay=0.1, init_std=0.5)
    model = MatrixFactorization(table, config, generator=torch.Generator().manual_seed(0))
    users, items = model.users.values.clone().requires_grad_(), model.items.values.clone().requires_grad_()
    free = 4 if biases else 3
    user_columns = torch.arange(free)
    item_columns = torch.tensor([0, 1, 2, 4]) if biases else user_columns
    of_user, of_item = users[columns.users], items[columns.items]
    errors = model.offset + (of_user * of_item).sum(1) - columns.ratings
    penalty = of_user[:, user_columns].square().sum(1) + of_item[:, item_columns].square().sum(1)
    torch.autograd.backward((errors.square() + 0.1 * penalty).mean())

    ours, of_users, of_items = model.gradients(
        model.users.values[columns.users], model.items.values[columns.items], columns.ratings
    )
    torch.testing.assert_close(ours, errors.detach())
    user_sum = torch.zeros_like(users).index_add(0, columns.users, of_users)
    item_sum = torch.zeros_like(items).index_add(0, columns.items, of_items)
    assert users.grad is not None
    assert items.grad is not None
    torch.testing.assert_close(user_sum[:, user_columns], users.grad[:, user_columns])
    torch.testing.assert_close(item_sum[:, item_columns], items.grad[:, item_columns])
    if biases:
        assert not user_sum[:, 4].any()
        assert not item_sum[:, 3].any()


@pytest.mark.parametrize("optimizer", ["sparse_adam", "adam"])
def test_learns_a_low_rank_table(optimizer: str) -> None:
    table = ratings()
    columns = rating_tensors(table)
    config = MFConfig(
        dim=3, epochs=60, lr=0.05, batch_size=600, optimizer="adam" if optimizer == "adam" else "sparse_adam"
    )
    tables = fit_mf(table, config, generator=torch.Generator().manual_seed(0))
    predicted = (
        tables.offset
        + tables.item_biases[columns.items]
        + (tables.user_vectors[columns.users] * tables.item_vectors[columns.items]).sum(1)
    )
    assert float((predicted - columns.ratings).square().mean().sqrt()) < 0.05
    assert float(table.ratings.std()) > 0.5


def test_user_bias_is_a_dimension_in_which_items_have_one() -> None:
    tables = fit_mf(ratings(), MFConfig(dim=3, epochs=2), generator=torch.Generator().manual_seed(0))
    assert tables.dim == 4
    assert tables.user_vectors.shape == (60, 4)
    assert torch.equal(tables.item_vectors[:, 3], torch.ones(30))
    assert tables.user_vectors[:, 3].abs().max() > 0.0


def test_without_biases_nothing_is_added() -> None:
    config = MFConfig(dim=3, epochs=2, biases=False)
    tables = fit_mf(ratings(), config, generator=torch.Generator().manual_seed(0))
    assert tables.dim == 3
    assert tables.offset == 0.0
    assert not tables.item_biases.any()


@pytest.mark.parametrize("optimizer", ["sparse_adam", "adam"])
def test_a_user_without_ratings_keeps_the_untrained_vector(optimizer: str) -> None:
    table = ratings()
    fewer = table.take(table.users != 7)
    config = MFConfig(dim=3, epochs=2, optimizer="adam" if optimizer == "adam" else "sparse_adam")
    untrained = MatrixFactorization(fewer, config, generator=torch.Generator().manual_seed(0)).tables()
    tables = fit_mf(fewer, config, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tables.user_vectors[7], untrained.user_vectors[7])
    assert not torch.equal(tables.user_vectors[8], untrained.user_vectors[8])


def test_a_seed_fixes_the_tables() -> None:
    first, second, other = (
        fit_mf(ratings(), MFConfig(dim=3, epochs=2), generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.user_vectors, second.user_vectors)
    assert torch.equal(first.item_biases, second.item_biases)
    assert not torch.equal(first.user_vectors, other.user_vectors)


def test_no_ratings_is_a_clear_error() -> None:
    empty = rating_table([], [], [], 3, 3)
    with pytest.raises(InputError, match="ratings"):
        fit_mf(empty, MFConfig(), generator=torch.Generator())


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="lower the learning rate"):
        fit_mf(ratings(), MFConfig(lr=1e30, epochs=5), generator=torch.Generator().manual_seed(0))
