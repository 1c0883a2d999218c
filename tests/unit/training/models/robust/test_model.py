"""The robust form of DiffCDR: its parts against their definitions, and a gate that knows when to stay shut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import rating_table
from training.models.baselines.bias import Bias, BiasConfig
from training.models.batching import affine_blockwise
from training.models.contract import TransferModel
from training.models.registry import MODELS, make_diffcdr
from training.models.robust.condition import SHAPE_DIM
from training.models.robust.config import RobustDiffCDRConfig
from training.models.robust.model import RobustDiffCDR
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable
from training.run.fit import evaluate

RANGE = (1.0, 5.0)
USERS, ITEMS, PER_USER = 400, 40, 12
TRAINING, VALIDATION = 250, 75


def fit(problem: TransferProblem, **settings: Any) -> RobustDiffCDR:
    model = RobustDiffCDR(RobustDiffCDRConfig(history_dim=8, taste_dim=2, **settings))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    return model


def bias_model(problem: TransferProblem) -> Bias:
    model = Bias(BiasConfig())
    model.fit(problem, generator=torch.Generator())
    return model


def scores(model: TransferModel) -> torch.Tensor:
    head, vectors = model.head(), model.transfer(model.source_vectors().double())
    return head.offset + head.item_biases.double() + vectors @ head.item_vectors.double().T


def table(ratings: np.ndarray[Any, Any], rated: np.ndarray[Any, Any], users: np.ndarray[Any, Any]) -> RatingTable:
    """Those of ``users``, renumbered 0.. where they are not everyone."""
    rows, columns = np.nonzero(rated[users])
    values = ratings[users][rows, columns]
    return rating_table(
        torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(values).float(), len(users), ITEMS
    )


def problem_of(
    source: np.ndarray[Any, Any], target: np.ndarray[Any, Any], seed: int
) -> tuple[TransferProblem, HeldOut]:
    """Users rate ``PER_USER`` random items in each domain; full ratings are given, [USERS, ITEMS]."""
    random = np.random.default_rng(seed)
    rated = [np.argsort(random.random((USERS, ITEMS)), axis=1) < PER_USER for _ in range(2)]
    training, validation, test = np.split(np.arange(USERS), [TRAINING, TRAINING + VALIDATION])
    overlap = torch.from_numpy(training)
    nothing = FactorTables(torch.zeros(USERS, 1), torch.zeros(ITEMS, 1), torch.zeros(ITEMS), 3.0)

    def held_out(users: np.ndarray[Any, Any]) -> HeldOut:
        return HeldOut(torch.from_numpy(users), table(target, rated[1], users))

    problem = TransferProblem(
        source=table(source, rated[0], np.arange(USERS)),
        target=table(target, rated[1], training),
        source_base=nothing,
        target_base=nothing,
        overlap_source=overlap,
        overlap_target=overlap,
        validation=held_out(validation),
        rating_range=RANGE,
    )
    return problem, held_out(test)


def noise(seed: int) -> tuple[TransferProblem, HeldOut]:
    """Nothing but item means and noise: who rates in one domain tells nothing about the other."""
    random = np.random.default_rng(seed)
    first, second = (3.0 + random.normal(0, 0.5, ITEMS) + random.normal(0, 0.7, (USERS, ITEMS)) for _ in range(2))
    return problem_of(np.clip(first, *RANGE), np.clip(second, *RANGE), seed + 100)


def structured(seed: int) -> tuple[TransferProblem, HeldOut]:
    """A level that both domains share, and to which target items react by factors from 0 to 2."""
    random = np.random.default_rng(seed)
    level = random.normal(0, 0.6, (USERS, 1))
    factors = random.uniform(0, 2, ITEMS)
    first = 3.0 + level + random.normal(0, 0.4, (USERS, ITEMS))
    second = 3.0 + random.normal(0, 0.3, ITEMS) + level * factors + random.normal(0, 0.4, (USERS, ITEMS))
    return problem_of(np.clip(first, *RANGE), np.clip(second, *RANGE), seed + 100)


def rmse(model: TransferModel, held_out: HeldOut) -> float:
    found = evaluate(model, held_out, rating_range=RANGE).rmse_clipped
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(4))
def test_on_pure_noise_the_gate_stays_shut_or_costs_nothing(seed: int) -> None:
    problem, test = noise(seed)
    model = fit(problem, item_shrinkages=(5.0,))
    plain = rmse(bias_model(problem), test)
    assert model.details()["gate"] == 0.0 or rmse(model, test) < plain * 1.003


def test_on_pure_noise_the_gate_is_shut() -> None:
    shut = [fit(noise(seed)[0], item_shrinkages=(5.0,)).details()["gate"] == 0.0 for seed in range(4)]
    assert sum(shut) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_on_planted_structure_it_beats_the_bias_model(seed: int) -> None:
    problem, test = structured(seed)
    model = fit(problem)
    assert model.details()["gate"] > 0.0
    assert model.details()["slope_penalty"] < 1e9
    assert rmse(model, test) < 0.97 * rmse(bias_model(problem), test)


def test_a_shut_gate_is_the_bias_model_itself() -> None:
    problem, _ = structured(0)
    model = fit(problem, smallest_gain=1.0)
    assert model.details()["gate"] == 0.0
    torch.testing.assert_close(scores(model), scores(bias_model(problem)), rtol=0, atol=1e-6)


def test_on_validation_users_it_is_never_worse_than_the_bias_model() -> None:
    for problem in (noise(7)[0], structured(7)[0], planted().problem):
        model = fit(problem)
        assert rmse(model, problem.validation) <= rmse(bias_model(problem), problem.validation) + 1e-6


def test_without_validation_ratings_the_gate_stays_shut() -> None:
    problem, _ = structured(0)
    none = table(np.zeros((USERS, ITEMS)), np.zeros((USERS, ITEMS), dtype=bool), np.arange(0))
    model = fit(replace(problem, validation=HeldOut(torch.empty(0, dtype=torch.int64), none)))
    assert model.details()["gate"] == 0.0


def test_it_is_one_affine_map_and_a_row_depends_on_itself_alone() -> None:
    problem, _ = structured(1)
    model = fit(problem)
    matrix, offset = model.fold()
    source = model.source_vectors()
    assert source.shape == (USERS, 1 + SHAPE_DIM + 8)
    torch.testing.assert_close(source.double() @ matrix + offset, model.transfer(source.double()))
    together = model.transfer(source)
    assert all(torch.equal(model.transfer(source[row : row + 1])[0], together[row]) for row in range(0, USERS, 7))


@pytest.mark.parametrize("width", [1, 2, 3, 6, 10, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_maps_of_any_width_give_a_row_the_same_bits_alone_and_in_company(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    rows, matrix = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((300, 65), (65, width)))
    offset = torch.arange(width).to(dtype)
    together = affine_blockwise(rows, matrix, offset)
    torch.testing.assert_close(together, rows @ matrix + offset, rtol=1e-4, atol=1e-4)
    assert all(
        torch.equal(affine_blockwise(rows[row : row + 1], matrix, offset)[0], together[row]) for row in range(300)
    )


def test_a_seed_fixes_it_and_the_global_generator_does_not_touch_it() -> None:
    problem, _ = structured(2)
    first = fit(problem)
    torch.manual_seed(5)
    second = fit(problem)
    assert first.details() == second.details()
    assert torch.equal(first.transfer(first.source_vectors()), second.transfer(second.source_vectors()))


def test_it_is_the_diffcdr_of_its_settings() -> None:
    assert isinstance(make_diffcdr(RobustDiffCDRConfig()), RobustDiffCDR)
    assert "diffcdr" in MODELS
