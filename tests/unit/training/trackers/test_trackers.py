"""Trackers, on and off: what a command tells them is read back from their own files by their own readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError, MissingExtraError
from tests.command import run
from tests.unit.training.tiny import QUICK, write_domains
from training.experiment.results import RESULTS
from training.trackers import opening
from training.trackers.mlflow import EXPERIMENT, metric_name

SETTINGS = [part for override in QUICK for part in ("--set", override)]


def tensorboard_figures(directory: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(directory))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_train_tells_every_epoch_the_final_figures_and_the_settings(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    store = f"file://{tmp_path / 'mlflow'}"
    options = ["--source", source, "--target", target, "--bundle", tmp_path / "books", "--preset", "reference"]
    trackers = ["--tensorboard", tmp_path / "tb", "--mlflow", store]
    assert run("train", *options, "--model", "emcdr", *SETTINGS, *trackers) == 0
    expected = open_bundle(tmp_path / "books").manifest.metrics["test"]["emcdr"]

    figures = tensorboard_figures(tmp_path / "tb" / "books")
    assert [step for step, _ in figures["base-source/mse"]] == [1, 2]
    assert [step for step, _ in figures["emcdr/rmse"]] == [1, 2]
    assert figures["test/emcdr/ndcg@20"] == [(0, pytest.approx(expected["ndcg@20"], abs=1e-6))]
    events = EventAccumulator(str(tmp_path / "tb" / "books"))
    events.Reload()
    assert "emcdr.epochs | 2" in events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()

    client = MlflowClient(tracking_uri=store)
    found = client.get_experiment_by_name(EXPERIMENT)
    assert found is not None
    (kept,) = client.search_runs([found.experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("books", "FINISHED")
    assert kept.data.params["emcdr.epochs"] == "2"
    assert kept.data.metrics["test/emcdr/ndcg_at_20"] == expected["ndcg@20"]
    assert [each.step for each in client.get_metric_history(kept.info.run_id, "emcdr/rmse")] == [1, 2]


def test_an_experiment_tells_of_each_cell(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    options = ["--source", source, "--target", target, "--out", tmp_path / "out", "--models", "popular,emcdr"]
    options += ["--preset", "reference"]
    few = ["--test-fractions", "0.2", "--seeds", "1", "--tensorboard", tmp_path / "tb"]
    assert run("experiment", *options, *few, *SETTINGS) == 0
    cells = {line["model"]: line for line in map(json.loads, (tmp_path / "out" / RESULTS).read_text().splitlines())}
    assert {path.name for path in (tmp_path / "tb").iterdir()} == {
        f"{model}-beta-0.2-seed-0-cold" for model in ("popular", "emcdr")
    }
    figures = tensorboard_figures(tmp_path / "tb" / "emcdr-beta-0.2-seed-0-cold")
    assert [value for _, value in figures["emcdr/rmse"]] == pytest.approx([e["rmse"] for e in cells["emcdr"]["epochs"]])
    assert figures["test/emcdr/hr@20"] == [(0, pytest.approx(cells["emcdr"]["hr@20"]))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tensorboard", "/dev/null/tb"], "choose another --tensorboard"),
        (["--mlflow", "file:///dev/null/store"], "give another --mlflow"),
        (["--mlflow", "nonsense://host"], "give another --mlflow"),
    ],
)
def test_a_place_that_cannot_be_used_is_told_before_any_file_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    command = ["train", "--source", "/nowhere.csv", "--target", "/nowhere.csv", "--bundle", tmp_path / "b"]
    assert run(*command, *options) == InputError.exit_code
    (error,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("error: "))
    assert message in error


@pytest.mark.parametrize(("package", "extra"), [("tensorboard", "train"), ("mlflow", "mlflow")])
def test_a_missing_extra_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    command = ["train", "--source", "/nowhere.csv", "--target", "/nowhere.csv", "--bundle", tmp_path / "b"]
    assert run(*command, f"--{package}", tmp_path / "place") == MissingExtraError.exit_code
    assert f"--{package} needs packages that are not installed; run: pip install 'diffcdr[{extra}]'" in " ".join(
        capfd.readouterr().err.split()
    )


def test_a_run_that_ends_with_an_error_is_kept_as_failed(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    store = f"file://{tmp_path / 'mlflow'}"
    options = ["--source", source, "--target", target, "--bundle", tmp_path / "books", "--preset", "reference"]
    assert run("train", *options, *SETTINGS, "--set", "base.lr=1e30", "--mlflow", store) == InputError.exit_code
    client = MlflowClient(tracking_uri=store)
    found = client.get_experiment_by_name(EXPERIMENT)
    assert found is not None
    assert [kept.info.status for kept in client.search_runs([found.experiment_id])] == ["FAILED"]


def test_names_that_mlflow_takes() -> None:
    assert metric_name("test/diffcdr/ndcg@20") == "test/diffcdr/ndcg_at_20"
    assert metric_name("diffcdr, task_weight=0.1 (1 of 2)/rmse") == "diffcdr_ task_weight_0.1 _1 of 2_/rmse"
