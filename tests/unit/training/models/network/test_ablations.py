"""DA learns nothing from ratings, AT has no diffusion, DAT has both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcdr.errors import InputError
from tests.unit.training.models.planted import planted
from training.fitting.checkpoint import CheckpointFile
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.network.config import DiffCDRConfig
from training.models.registry import MODELS
from training.problem import TransferProblem

DATA = planted()
SETTINGS: dict[str, Any] = {"epochs": 2, "nfe": 3, "hidden_dim": 8, "task_weight": 1.0, "clip_norm": None}


def carried(name: str, problem: TransferProblem, **settings: Any) -> Tensor:
    model = MODELS[name].create(DiffCDRConfig(**{**SETTINGS, **settings}))
    model.fit(problem, generator=torch.Generator().manual_seed(0))
    return model.transfer(problem.source_base.user_vectors)


@pytest.mark.parametrize(
    ("name", "learns_from_ratings"),
    [("diffcdr-da", False), ("diffcdr-at", True), ("diffcdr-at-task", True), ("diffcdr", True)],
)
def test_da_alone_has_no_task_gradient(name: str, learns_from_ratings: bool) -> None:
    target = DATA.problem.target
    flipped = replace(DATA.problem, target=replace(target, ratings=6.0 - target.ratings))
    first, second = (carried(name, problem) for problem in (DATA.problem, flipped))
    assert torch.equal(first, second) is not learns_from_ratings


@pytest.mark.parametrize(
    ("name", "diffuses"), [("diffcdr-da", True), ("diffcdr-at", False), ("diffcdr-at-task", False), ("diffcdr", True)]
)
def test_at_alone_has_no_diffusion(name: str, diffuses: bool) -> None:
    plain = carried(name, DATA.problem)
    for change in ({"nfe": 4}, {"guidance_scale": 3.0}, {"hidden_dim": 9}, {"schedule": "continuous"}):
        assert torch.equal(carried(name, DATA.problem, **change), plain) is not diffuses


def test_at_has_the_weights_of_the_alm_alone(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "at.safetensors")
    model = MODELS["diffcdr-at"].create(DiffCDRConfig(**SETTINGS))
    model.fit(DATA.problem, generator=torch.Generator().manual_seed(0), checkpoint=checkpoint)
    saved = checkpoint.load()
    assert saved is not None
    weights = {name: tuple(each.shape) for name, each in saved.tensors.items() if name.startswith("weights.")}
    assert weights == {"weights.weight": (4, 4)}


def test_da_takes_the_squared_distance() -> None:
    details = MODELS["diffcdr-da"].create(DiffCDRConfig(alm_loss="l1", task_weight=4.0)).details()
    assert details["alm_loss"] == "l2"
    assert details["task_weight"] == 0.0


@pytest.mark.parametrize(("name", "learns_from_vectors"), [("diffcdr-at", True), ("diffcdr-at-task", False)])
def test_target_vectors_teach_one_reading_of_at_alone(name: str, learns_from_vectors: bool) -> None:
    base = DATA.problem.target_base
    moved = replace(DATA.problem, target_base=replace(base, user_vectors=-base.user_vectors))
    assert torch.equal(carried(name, moved), carried(name, DATA.problem)) is not learns_from_vectors


def test_the_task_alone_has_no_weight() -> None:
    heavy = carried("diffcdr-at-task", DATA.problem, task_weight=8.0)
    assert torch.equal(heavy, carried("diffcdr-at-task", DATA.problem))


@pytest.mark.parametrize("name", ["diffcdr-da", "diffcdr-at", "diffcdr-at-task"])
def test_the_closed_form_has_no_ablations(name: str) -> None:
    with pytest.raises(InputError, match=r"diffcdr\.form=network"):
        MODELS[name].create(GaussianDiffCDRConfig())
