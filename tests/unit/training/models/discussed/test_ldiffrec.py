"""L-DiffRec's chain against posterior means written out, and what reaches it at inference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.models.discussed.ldiffrec import Denoiser, LDiffRecConfig

SOURCE, TARGET = 3, 2


def denoiser(**settings: float) -> Denoiser:
    config = LDiffRecConfig.model_validate(settings)
    return Denoiser(SOURCE, TARGET, config=config, generator=torch.Generator().manual_seed(1)).requires_grad_(False)


def test_noise_grows_linearly_to_its_largest() -> None:
    network = denoiser(steps=4, noise_min=0.01, noise_max=0.1)
    assert network.kept == pytest.approx([1.0, 0.99, 0.96, 0.93, 0.9])
    assert denoiser(steps=1, noise_min=0.01, noise_max=0.1).kept == pytest.approx([1.0, 0.99])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_chain_is_the_posterior_means_of_ho_et_al(steps: int) -> None:
    network = denoiser(steps=steps, noise_min=0.02, noise_max=0.3).double()
    source = torch.randn(6, SOURCE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    bars = network.kept
    x = math.sqrt(bars[-1]) * torch.cat([source, torch.zeros(6, TARGET, dtype=torch.float64)], dim=1)
    for t in range(steps, 0, -1):
        beta = 1.0 - bars[t] / bars[t - 1]
        clean = network.clean(x, network.time_features[t][None])
        x = (
            math.sqrt(bars[t - 1]) * beta / (1.0 - bars[t]) * clean
            + math.sqrt(1.0 - beta) * (1.0 - bars[t - 1]) / (1.0 - bars[t]) * x
        )
    torch.testing.assert_close(network(source), x[:, SOURCE:])


def test_a_denoiser_that_knows_the_answer_gives_it() -> None:
    network = denoiser(steps=5)
    answer = torch.randn(4, SOURCE + TARGET, generator=torch.Generator().manual_seed(3))

    def knows(x: Tensor, time_features: Tensor) -> Tensor:
        return answer

    network.clean = knows  # type: ignore[method-assign]
    torch.testing.assert_close(network(torch.zeros(4, SOURCE)), answer[:, SOURCE:])
