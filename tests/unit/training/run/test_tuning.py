"""Settings from grids: chosen on validation users, kept with all that was tried, and what a run with them gives."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from tests.command import run
from tests.unit.training.tiny import QUICK, quick_prepared, quick_run, write_domains
from training.config import load_preset
from training.experiment.results import RESULTS
from training.models.contract import TransferModel
from training.run.fit import fit_model
from training.run.grids import PAPER, SettingGrids, combinations, parse_grids
from training.run.prepare import Prepared
from training.run.tuning import fit_tuned

GRIDS = SettingGrids({"diffcdr": {"task_weight": (0.0, 5.0), "guidance_scale": (0.1, 0.5, 4.0)}})
SETTINGS = [part for override in QUICK for part in ("--set", override)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return quick_prepared(tmp_path_factory.mktemp("domains"), quick_run())


def carried(model: TransferModel) -> torch.Tensor:
    return model.transfer(model.source_vectors())


def test_the_best_on_validation_users_is_kept_with_all_that_was_tried(prepared: Prepared) -> None:
    tuned = fit_tuned("diffcdr", prepared, quick_run(), GRIDS)
    assert tuned.tuning is not None
    assert [trial.settings for trial in tuned.tuning.trials] == combinations(GRIDS.sections["diffcdr"])
    assert tuned.tuning.metric == "rmse_clipped"
    figures = [trial.validation["rmse_clipped"] for trial in tuned.tuning.trials]
    assert len(set(figures)) > 3
    best = tuned.tuning.trials[figures.index(min(figures))]
    assert tuned.tuning.chosen == best.settings
    assert tuned.fitted.validation.as_dict() == best.validation
    details = tuned.fitted.model.details()
    assert {key: details[key] for key in best.settings} == best.settings


def test_what_is_kept_is_what_the_chosen_settings_alone_give(prepared: Prepared) -> None:
    grids = SettingGrids({"diffcdr": {"task_weight": (0.0, 5.0)}})
    tuned = fit_tuned("diffcdr", prepared, quick_run(), grids)
    assert tuned.tuning is not None
    alone = fit_model("diffcdr", prepared, quick_run(f"diffcdr.task_weight={tuned.tuning.chosen['task_weight']}"))
    assert torch.equal(carried(alone.model), carried(tuned.fitted.model))


def test_guidance_is_tried_on_one_training(prepared: Prepared) -> None:
    steps: list[str] = []

    def watch(step: str, epochs: int) -> AbstractContextManager[None]:
        steps.append(step)
        return nullcontext()

    fit_tuned("diffcdr", prepared, replace(quick_run(), watch=watch), GRIDS)
    assert steps == ["diffcdr, task_weight=0.0 (1 of 2)", "diffcdr, task_weight=5.0 (2 of 2)"]


def test_checkpoints_of_several_trainings_are_kept_apart(prepared: Prepared, tmp_path: Path) -> None:
    whole = fit_tuned("diffcdr", prepared, quick_run(), GRIDS)
    first = fit_tuned("diffcdr", prepared, quick_run(checkpoints=tmp_path), GRIDS)
    again = fit_tuned("diffcdr", prepared, quick_run(checkpoints=tmp_path), GRIDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diffcdr-1.safetensors", "diffcdr-2.safetensors"]
    assert whole.tuning == first.tuning == again.tuning


def test_an_ablation_tries_only_what_it_has() -> None:
    assert set(GRIDS.of_model("diffcdr-da")) == {"guidance_scale"}
    assert set(GRIDS.of_model("diffcdr-at")) == {"task_weight"}
    assert not GRIDS.of_model("diffcdr-at-task")
    assert GRIDS.of_model("emcdr") == {}
    assert GRIDS.cost(["emcdr", "diffcdr"]) == [
        "diffcdr: 6 combinations of task_weight and guidance_scale, 2 trainings; chosen on validation users"
    ]


def test_the_papers_values_are_settings_of_every_preset_that_trains() -> None:
    for preset in ("paper", "reference"):
        assert parse_grids(preset, [], paper=True, own=[], models=["diffcdr"]).sections == PAPER
        for section, grids in PAPER.items():
            for key, values in grids.items():
                assert [getattr(load_preset(preset, [f"{section}.{key}={v}"]).diffcdr, key) for v in values] == [
                    *values
                ]


def test_own_values_go_before_the_papers() -> None:
    own = ["diffcdr.task_weight=1,0.5, 1", "emcdr.mapping=linear,mlp"]
    grids = parse_grids("paper", [], paper=True, own=own, models=["emcdr", "diffcdr"])
    assert grids.sections["diffcdr"]["task_weight"] == (1.0, 0.5)
    assert grids.sections["diffcdr"]["guidance_scale"] == PAPER["diffcdr"]["guidance_scale"]
    assert grids.sections["emcdr"] == {"mapping": ("linear", "mlp")}


@pytest.mark.parametrize(
    ("preset", "own", "message"),
    [
        ("paper", "diffcdr.task_weigth=1,2", "did you mean 'task_weight'"),
        ("paper", "diffcdr.task_weight=1,many", "should be a valid number"),
        ("paper", "diffcdr.task_weight=1,-2", "greater than or equal to 0"),
        ("paper", "diffcdr.task_weight", "write it as section.key=value,value"),
        ("paper", "diffcdr.task_weight=1,,2", "write it as section.key=value,value"),
        ("paper", "base.dim=5,10", "no setting of a model"),
        ("paper", "emcdr.lr=0.1,0.2", "no model of this command"),
        ("paper", "diffcdr.form=network", "another method each time"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_one_sentence(preset: str, own: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_grids(preset, [], paper=False, own=[own], models=["diffcdr"])
    assert "\n" not in str(caught.value)


def test_the_closed_form_has_no_such_grid() -> None:
    with pytest.raises(InputError, match="closed form"):
        parse_grids("ranking", [], paper=True, own=[], models=["diffcdr"])


def test_train_says_what_it_tried_and_the_manifest_keeps_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = write_domains(tmp_path)
    options = ["--source", source, "--target", target, "--bundle", tmp_path / "b", "--preset", "reference", *SETTINGS]
    assert run("train", *options, "--grid", "--grid-values", "diffcdr.task_weight=0.1,1") == 0
    screen = " ".join(capfd.readouterr().err.split())
    assert "diffcdr: 14 combinations of task_weight and guidance_scale, 2 trainings" in screen
    assert "of 14 combinations (rmse_clipped" in screen
    manifest = open_bundle(tmp_path / "b").manifest
    tuning = manifest.provenance.tuning["diffcdr"]
    assert len(tuning.trials) == 14
    best = min(trial.validation["rmse_clipped"] for trial in tuning.trials)
    assert manifest.metrics["validation"]["diffcdr"]["rmse_clipped"] == best
    assert {key: manifest.transfer.details[key] for key in tuning.chosen} == tuning.chosen


def test_an_experiment_keeps_what_was_tried_and_is_one_with_its_grid(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = write_domains(tmp_path)
    options = ["--source", source, "--target", target, "--out", tmp_path / "out", "--models", "mean,emcdr", *SETTINGS]
    options += ["--preset", "reference"]
    few = ["--test-fractions", "0.2", "--seeds", "1"]
    assert run("experiment", *options, *few, "--grid-values", "emcdr.lr=0.001,0.1") == 0
    mean, emcdr = (json.loads(line) for line in (tmp_path / "out" / RESULTS).read_text().splitlines())
    assert mean["tuning"] is None
    assert [trial["settings"] for trial in emcdr["tuning"]["trials"]] == [{"lr": 0.001}, {"lr": 0.1}]
    capfd.readouterr()
    for other in ([], ["--grid-values", "emcdr.lr=0.001,0.2"]):
        assert run("experiment", *options, *few, *other) == InputError.exit_code
        assert "differs in grid" in capfd.readouterr().err
