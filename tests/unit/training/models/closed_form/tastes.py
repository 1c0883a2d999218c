"""Two domains with planted preferences: items are liked for tastes that a user brings to both, or to one alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.unit.training.rating_tables import rating_table
from training.base_models.als import fit_als
from training.base_models.config import ALSConfig
from training.problem import HeldOut, TransferProblem
from training.rating_table import RatingTable

USERS, ITEMS, TASTES, PER_USER = 400, 120, 5, 18
TRAINING, VALIDATION = 240, 60


@dataclass(frozen=True)
class Domains:
    problem: TransferProblem
    test: HeldOut


def chosen(tastes: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """[USERS, ITEMS]: each user's favourites among items that are popular to different degrees."""
    appeal = tastes @ random.normal(size=(TASTES, ITEMS)) + random.normal(size=ITEMS)
    noisy = appeal + random.gumbel(size=appeal.shape)
    picked = np.zeros(appeal.shape, dtype=bool)
    np.put_along_axis(picked, np.argsort(-noisy, axis=1)[:, :PER_USER], True, axis=1)
    return picked


def table(picked: npt.NDArray[np.bool_]) -> RatingTable:
    users, items = np.nonzero(picked)
    return rating_table(torch.from_numpy(users), torch.from_numpy(items), torch.full((len(users),), 5.0), *picked.shape)


def make_domains(
    seed: int = 0, *, linked: bool = True, training: int = TRAINING, validation: int = VALIDATION
) -> Domains:
    """``linked``: whether a user's tastes are the same in both domains. The users left over are for the test."""
    random = np.random.default_rng(seed)
    tastes = random.normal(size=(USERS, TASTES))
    first = chosen(tastes, random)
    second = chosen(tastes if linked else random.normal(size=tastes.shape), random)
    known = second.copy()
    known[training:] = False
    rows = torch.arange(training)

    def base(ratings: RatingTable) -> Any:
        return fit_als(ratings, ALSConfig(dim=16), generator=torch.Generator().manual_seed(1))

    def held_out(start: int, stop: int) -> HeldOut:
        return HeldOut(torch.arange(start, stop), table(second[start:stop]))

    problem = TransferProblem(
        source=table(first),
        target=table(known),
        source_base=base(table(first)),
        target_base=base(table(known)),
        overlap_source=rows,
        overlap_target=rows,
        validation=held_out(training, training + validation),
        rating_range=(1.0, 5.0),
    )
    return Domains(problem, held_out(training + validation, USERS))
