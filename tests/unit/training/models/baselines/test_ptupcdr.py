"""PTUPCDR: histories, the padding mask, and a planted map that differs from user to user."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.errors import InputError
from tests.unit.training.models.planted import planted
from tests.unit.training.models.two_kinds import two_kinds_of_users
from tests.unit.training.rating_tables import rating_table
from training.evaluation.judging import held_out_errors
from training.export.onnx import export_transfer
from training.models.baselines.ptupcdr import PADDING, PTUPCDR, PTUPCDRConfig, PTUPCDRNetwork, histories
from training.models.baselines.ridge import Ridge, RidgeConfig
from training.models.contract import TransferModel

DATA = planted()


def network() -> PTUPCDRNetwork:
    return PTUPCDRNetwork(4, 3, hidden_dim=5, generator=torch.Generator().manual_seed(0))


def test_histories_are_the_best_rated_then_the_lowest_rows() -> None:
    table = rating_table(
        users=torch.tensor([0, 0, 0, 0, 2, 2]),
        items=torch.tensor([1, 3, 5, 6, 0, 2]),
        ratings=torch.tensor([4.0, 5.0, 4.0, 3.0, 2.0, 3.5]),
        n_users=3,
        n_items=7,
    )
    assert histories(table, longest=2, threshold=3.0).tolist() == [[3, 1], [PADDING, PADDING], [2, PADDING]]
    assert histories(table, longest=4, threshold=3.0)[0].tolist() == [3, 1, 5, PADDING]


def test_histories_with_times_are_the_last_items() -> None:
    table = rating_table(
        users=torch.tensor([0, 0, 0, 0, 2, 2]),
        items=torch.tensor([1, 3, 5, 6, 0, 2]),
        ratings=torch.tensor([4.0, 5.0, 4.0, 3.0, 2.0, 3.5]),
        n_users=3,
        n_items=7,
    )
    times = np.array([30, 10, 20, 40, 50, 60])
    last = histories(table, longest=2, threshold=3.0, times=times)
    assert last.tolist() == [[1, 5], [PADDING, PADDING], [2, PADDING]]


@given(items=st.lists(st.integers(0, 9), max_size=6), padding=st.integers(0, 5))
def test_padding_with_the_first_item_takes_it_out_of_every_history(items: list[int], padding: int) -> None:
    """The released code's padding: the first item's number stands for none, and an empty history has its vector."""
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    net = PTUPCDRNetwork(4, 3, hidden_dim=5, padding="first_item", generator=torch.Generator().manual_seed(0))
    pooled = net.characteristics(torch.tensor([[*items, *[PADDING] * (padding + 1)]]), vectors)[0]
    rest = [item for item in items if item]
    if not rest:
        torch.testing.assert_close(pooled, vectors[0])
        return
    scores = net.attention(vectors[rest]).squeeze(1)
    torch.testing.assert_close(pooled, scores.softmax(0) @ vectors[rest], rtol=1e-5, atol=1e-6)


@given(items=st.lists(st.integers(0, 9), max_size=6), padding=st.integers(0, 5))
def test_padding_changes_nothing(items: list[int], padding: int) -> None:
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    pooled = network().characteristics(torch.tensor([[*items, *[PADDING] * (padding + 1)]]), vectors)[0]
    if not items:
        assert not pooled.any()
        return
    scores = network().attention(vectors[items]).squeeze(1)
    torch.testing.assert_close(pooled, scores.softmax(0) @ vectors[items], rtol=1e-5, atol=1e-6)


def test_bridge_is_a_matrix_of_the_characteristic() -> None:
    bridge = network().bridge
    user, other, characteristic = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    matrix = bridge.meta_network(characteristic).reshape(4, 3)
    rows = torch.stack([torch.cat([vector, characteristic]) for vector in (user, other)])
    torch.testing.assert_close(bridge(rows), torch.stack([user, other]) @ matrix)


def test_learns_a_map_that_differs_from_user_to_user() -> None:
    data = two_kinds_of_users()

    def error(model: TransferModel) -> float:
        model.fit(data.problem, generator=torch.Generator().manual_seed(0))
        vectors = model.transfer(model.source_vectors()[data.test.source_rows])
        return held_out_errors(vectors, data.test, head=model.head(), rating_range=(1.0, 5.0))["rmse"]

    assert error(PTUPCDR(PTUPCDRConfig(epochs=10, batch_size=32))) < 0.15
    assert error(Ridge(RidgeConfig())) > 0.4


def test_without_any_history_the_number_is_named() -> None:
    with pytest.raises(InputError, match=r"none of the 120 .* above 5"):
        PTUPCDR(PTUPCDRConfig(threshold=5.0)).fit(DATA.problem, generator=torch.Generator().manual_seed(0))


def test_exports_as_a_graph_of_the_row_alone() -> None:
    model = PTUPCDR(PTUPCDRConfig(epochs=1))
    model.fit(DATA.problem, generator=torch.Generator().manual_seed(0))
    exported = export_transfer(model, generator=torch.Generator().manual_seed(0))
    assert exported.spec.kind == "onnx"
    assert exported.spec.source_dim == 2 * exported.spec.target_dim == 8
