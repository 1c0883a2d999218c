"""MWUF by hand: a common vector, scaled by the source vector and shifted by the mean of what the user liked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcdr.errors import InputError
from tests.unit.training.models.planted import planted
from training.models.discussed.mwuf import MWUF, MWUFConfig, WarmUp


def test_the_network_scales_and_shifts() -> None:
    generator = torch.Generator().manual_seed(2)
    common = torch.randn(3, generator=generator)
    network = WarmUp(common, 4, hidden_dim=5, generator=generator)
    inputs = torch.randn(6, 8, generator=generator)

    def by_hand(net: torch.nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
        first, last = net[0], net[2]
        assert isinstance(first, torch.nn.Linear) and isinstance(last, torch.nn.Linear)
        return (rows @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias

    expected = common * (1 + by_hand(network.scaling, inputs[:, :4])) + by_hand(network.shifting, inputs[:, 4:])
    torch.testing.assert_close(network(inputs), expected)


def test_the_mean_is_of_what_was_liked_and_zero_without() -> None:
    problem = planted().problem
    quiet = int(problem.overlap_source[0])
    ratings = np.where(problem.source.users == quiet, np.float32(1.0), problem.source.ratings)
    problem = replace(problem, source=replace(problem.source, ratings=ratings))
    model = MWUF(MWUFConfig(epochs=1))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    vectors, items = model.source_vectors(), problem.source_base.item_vectors
    dim = problem.source_base.dim
    assert torch.equal(vectors[:, :dim], problem.source_base.user_vectors)
    assert not vectors[quiet, dim:].any()
    other = int(problem.overlap_source[1])
    liked = problem.source.items[(problem.source.users == other) & (problem.source.ratings > 3.0)]
    torch.testing.assert_close(vectors[other, dim:], items[torch.from_numpy(liked)].mean(dim=0))


def test_nobody_with_a_history_is_refused() -> None:
    with pytest.raises(InputError, match="lower mwuf.threshold"):
        MWUF(MWUFConfig(threshold=5.0)).fit(planted().problem, generator=torch.Generator().manual_seed(0))
