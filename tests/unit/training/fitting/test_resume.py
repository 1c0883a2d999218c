"""Checkpoints: resume equals an uninterrupted run bit for bit; a crash or a foreign file loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcdr.errors import InputError
from tests.unit.training.models.planted import planted
from training.base_models.config import MFConfig
from training.base_models.mf import fit_mf
from training.fitting.checkpoint import Checkpoint, CheckpointFile
from training.fitting.loop import FitReport
from training.models.contract import TransferModel
from training.models.registry import MODELS

DATA = planted()
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "diffcdr-two": ("diffcdr", {"epochs": 4, "nfe": 3, "hidden_dim": 8}),
    "diffcdr-one": (
        "diffcdr",
        {
            "epochs": 4,
            "nfe": 3,
            "hidden_dim": 8,
            "activation": "none",
            "initial_state": "gaussian",
        },
    ),
    "emcdr": ("emcdr", {"epochs": 4}),
    "cmf": ("cmf", {"epochs": 4}),
    "sscdr": ("sscdr", {"epochs": 4}),
    "lacdr": ("lacdr", {"epochs": 4}),
    "ptupcdr": ("ptupcdr", {"epochs": 4}),
    "tmcdr": ("tmcdr", {"epochs": 4}),
    "dcdcsr": ("dcdcsr", {"epochs": 4}),
    "mwuf": ("mwuf", {"epochs": 4}),
    "ldiffrec": ("ldiffrec", {"epochs": 4}),
    "savae": ("savae", {"epochs": 4, "source_epochs": 2}),
    "cdrib": ("cdrib", {"epochs": 4}),
    "vdea": ("vdea", {"epochs": 4, "groups": 2}),
    "diffcdr-da": ("diffcdr-da", {"epochs": 4, "nfe": 3, "hidden_dim": 8}),
    "diffcdr-at": ("diffcdr-at", {"epochs": 4}),
    "diffcdr-at-task": ("diffcdr-at-task", {"epochs": 4}),
}


class Interrupted(Exception):
    """What stops a run half-way in these tests."""


class StopAfter:
    """A progress callback that interrupts training after ``epoch``."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, *, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
        if epoch == self.epoch:
            raise Interrupted


def train(
    variant: str, *, checkpoint: CheckpointFile | None = None, stop: int = 0, seed: int = 3
) -> tuple[TransferModel, FitReport]:
    name, settings = VARIANTS[variant]
    model = MODELS[name].create(MODELS[name].config(**settings))
    generator = torch.Generator().manual_seed(seed)
    report = model.fit(DATA.problem, generator=generator, progress=StopAfter(stop), checkpoint=checkpoint)
    return model, report


def vectors(model: TransferModel) -> Tensor:
    return model.transfer(model.source_vectors())


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("stops", [[1], [2, 3], [4]])
def test_resume_equals_an_uninterrupted_run(variant: str, stops: list[int], tmp_path: Path) -> None:
    whole, expected = train(variant)
    checkpoint = CheckpointFile(tmp_path / "run.safetensors")
    for stop in stops:
        with pytest.raises(Interrupted):
            train(variant, checkpoint=checkpoint, stop=stop)
    resumed, report = train(variant, checkpoint=checkpoint)
    assert torch.equal(vectors(resumed), vectors(whole))
    assert report.epochs == expected.epochs
    assert report.best_epoch == expected.best_epoch


@pytest.mark.parametrize("optimizer", ["adam", "sparse_adam"])
def test_base_model_resumes_too(optimizer: str, tmp_path: Path) -> None:
    config = MFConfig(dim=3, epochs=4, optimizer="adam" if optimizer == "adam" else "sparse_adam")
    table = DATA.problem.source
    whole = fit_mf(table, config, generator=torch.Generator().manual_seed(0))
    checkpoint = CheckpointFile(tmp_path / "base.safetensors")
    with pytest.raises(Interrupted):
        fit_mf(table, config, generator=torch.Generator().manual_seed(0), progress=StopAfter(2), checkpoint=checkpoint)
    resumed = fit_mf(table, config, generator=torch.Generator().manual_seed(0), checkpoint=checkpoint)
    assert torch.equal(resumed.user_vectors, whole.user_vectors)
    assert torch.equal(resumed.item_vectors, whole.item_vectors)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "run.safetensors")
    train("emcdr", checkpoint=checkpoint)
    with pytest.raises(InputError, match="another run"):
        train("emcdr", checkpoint=checkpoint, seed=4)
    with pytest.raises(InputError, match="another run"):
        train("diffcdr-two", checkpoint=checkpoint)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04K\x01."])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.safetensors"):
        CheckpointFile(path).load()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "run.safetensors")
    checkpoint.save(Checkpoint({"w": torch.arange(100.0)}, {"epoch": 1}))
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-10])
    with pytest.raises(InputError, match="delete it"):
        checkpoint.load()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "folder" / "run.safetensors")
    assert checkpoint.load() is None
    saved = Checkpoint({"w": torch.randn(3, 2).T, "n": torch.tensor(4)}, {"loss": 0.1 + 0.2, "names": ["a", None]})
    checkpoint.save(saved)
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded.facts == saved.facts
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())


def test_a_crash_before_the_rename_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = CheckpointFile(tmp_path / "run.safetensors")
    checkpoint.save(Checkpoint({}, {"epoch": 1}))

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        checkpoint.save(Checkpoint({}, {"epoch": 2}))
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded.facts == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
