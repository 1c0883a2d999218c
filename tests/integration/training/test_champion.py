"""The choice of a model on evidence, by its command: what is compared, what is published, and where it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diffcdr.bundle.reader import Bundle, open_bundle
from tests.command import said
from tests.serving import serving
from tests.unit.training.tiny import write_domains

HISTORIES = ["itemknn", "dual_ridge", "ease", "joint_als", "userknn", "gfcf", "slim"]
BASELINES = ["mean", "bias", "popular", "ridge"]
CONTENDERS = ["itemknn", "dual_ridge", "slim"]


@pytest.fixture(scope="module")
def rating_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Domains whose tastes are linked, with some hundreds of users in both."""
    folder = tmp_path_factory.mktemp("ratings")
    said("synth", "--out", folder, "--users", "600", "--items", "150", "--seed", "3")
    return folder / "films.parquet", folder / "books.parquet"


def trained(files: tuple[Path, Path], bundle: Path, *options: str) -> tuple[Bundle, str]:
    """The bundle, and what the command said."""
    screen = said("train", "--source", files[0], "--target", files[1], "--bundle", bundle, *options)
    return open_bundle(bundle), screen


@pytest.fixture(scope="module")
def champion(rating_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """The best of all models of the default preset."""
    return trained(rating_files, tmp_path_factory.mktemp("out") / "bundle", "--models", "all", "--select", "ndcg@20")


def test_the_best_on_validation_users_is_published_with_the_figures_of_all(champion: tuple[Bundle, str]) -> None:
    manifest, screen = champion[0].manifest, champion[1]
    assert manifest.preset == "ranking"
    for scope in ("validation", "test"):
        assert list(manifest.metrics[scope]) == [*BASELINES, *HISTORIES, "diffcdr"]
        assert all(
            {"ndcg@20", "hr@20", "recall@20", "coverage@20"} <= each.keys() for each in manifest.metrics[scope].values()
        )
    validation = {name: figures["ndcg@20"] for name, figures in manifest.metrics["validation"].items()}
    assert validation[manifest.model] == max(validation.values())
    assert f"{manifest.model} has the best ndcg@20 on validation users" in screen
    assert manifest.provenance.selected_by == "ndcg@20"


def test_a_planted_link_between_tastes_is_found(champion: tuple[Bundle, str]) -> None:
    manifest = champion[0].manifest
    test = manifest.metrics["test"]
    assert manifest.model not in ("mean", "bias", "popular")
    assert test[manifest.model]["ndcg@20"] > 1.2 * test["popular"]["ndcg@20"]


def test_inspect_and_the_service_show_every_model(champion: tuple[Bundle, str]) -> None:
    bundle = champion[0]
    shown = said("inspect", "--all", bundle.path)
    assert "best ndcg@20 on validation users" in shown
    tables = shown[shown.index("Quality on validation users") :]
    for name, figures in bundle.manifest.metrics["test"].items():
        assert name in tables
        assert f"{figures['ndcg@20']:.4f}" in tables
    with serving(bundle.path) as client:
        (model,) = client.get("/v1/models").json()["models"]
    assert (model["model"], model["metrics"]) == (bundle.manifest.model, bundle.manifest.metrics)


def test_without_a_name_diffcdr_has_to_show_itself_against_plain_models(
    rating_files: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, screen = trained(rating_files, tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.provenance.selected_by, manifest.provenance.favoured) == ("ndcg@20", "diffcdr")
    others = {*BASELINES, *CONTENDERS, "diffcdr"} - {manifest.model}
    assert set(manifest.paired["validation"]) == set(manifest.paired["test"]) == others
    shown = said("inspect", "--all", bundle.path)
    for scope in ("validation", "test"):
        figures = manifest.metrics[scope]
        for name in others:
            paired = manifest.paired[scope][name]
            gain = figures[manifest.model]["ndcg@20"] - figures[name]["ndcg@20"]
            assert paired.difference == pytest.approx(gain, abs=1e-9)
            assert paired.standard_error is not None
            assert f"{paired.difference:+.4f} ± {1.96 * paired.standard_error:.4f}" in shown
    assert f"{manifest.model} against ridge on validation users: ndcg@20" in screen
    named = trained(rating_files, tmp_path / "named", "--model", "popular")[0].manifest
    assert (named.model, named.provenance.selected_by, named.provenance.favoured) == ("popular", None, None)


def test_another_figure_may_choose_another_model(tmp_path: Path) -> None:
    manifest = trained(write_domains(tmp_path), tmp_path / "bundle", "--select", "rmse_clipped")[0].manifest
    validation = manifest.metrics["validation"]
    errors = {name: each["rmse_clipped"] for name, each in validation.items() if "rmse_clipped" in each}
    # Scores of lists are not ratings: the model of lists does not take part.
    assert set(errors) == {"mean", "bias", "popular"}
    assert errors[manifest.model] == min(errors.values())


def test_where_one_domain_tells_nothing_of_the_other_the_robust_preset_predicts_as_the_bias_model(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(5)
    for name in ("films", "books"):
        rated = random.random((400, 60)) < 0.25
        users, items = np.nonzero(rated)
        stars = np.clip(np.round(3.0 + random.normal(0, 0.5, 60)[items] + random.normal(0, 0.8, len(items))), 1, 5)
        columns = {"user_id": [f"u{user:03}" for user in users], "item_id": [f"{name}-{item:02}" for item in items]}
        pl.DataFrame({**columns, "rating": stars}).write_parquet(tmp_path / f"{name}.parquet")
    files = tmp_path / "films.parquet", tmp_path / "books.parquet"
    manifest = trained(files, tmp_path / "bundle", "--preset", "robust")[0].manifest
    figures = manifest.metrics["test"]
    # The gate is set by a few dozen validation users: where chance opens it, it must cost nothing.
    shut = manifest.transfer.details["gate"] == 0.0
    for metric in ("rmse", "mae", "rmse_clipped", "mae_clipped"):
        assert figures["diffcdr"][metric] <= figures["bias"][metric] * (1 + (1e-6 if shut else 3e-3))
