from pathlib import Path

import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from tests.command import run
from tests.unit.training.tiny import QUICK, write_domains
from training.models.registry import MODELS
from training.run.inputs import parse_rating_range
from training.run.model_choice import OF_HISTORIES
from training.train_plan import TrainPlan

SETTINGS = [part for override in QUICK for part in ("--set", override)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_domains(tmp_path)


def command(files: tuple[Path, Path], bundle: Path) -> list[str | Path]:
    options = ["--source", files[0], "--target", files[1], "--bundle", bundle, "--preset", "reference"]
    return ["train", *options, *SETTINGS]


def test_trains_publishes_and_says_so(
    tmp_path: Path, files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    options = ["--model", "emcdr", "--models", "tgt", "--test-fraction", "0.3", "--seed", "4"]
    assert run(*command(files, bundle), *options, "--target-titles", tmp_path / "books_items.csv") == 0

    manifest = open_bundle(bundle).manifest
    assert manifest.model == "emcdr"
    assert (manifest.preset, manifest.provenance.seed, manifest.provenance.test_fraction) == ("reference", 4, 0.3)
    assert list(manifest.metrics["test"]) == ["mean", "bias", "popular", "tgt", "emcdr"]
    screen = capfd.readouterr().err
    for expected in (
        "films.csv",
        "ratings kept",
        "books_items.csv: item 'item_id', title 'title'; ",
        "60 users in both domains",
        "source base model: 2 epochs",
        "On 18 test users",
        "ndcg@20",
        f"next: diffcdr serve --bundle {bundle}",
    ):
        assert expected in screen


def test_warns_when_the_model_is_worse_than_plain(
    tmp_path: Path, files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*command(files, tmp_path / "bundle"), "--model", "tgt") == 0
    assert "warning: tgt predicts ratings worse than the bias baseline" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "papr"], "did you mean 'paper'?"),
        (["--set", "diffcdr.nef=3"], "did you mean 'nfe'?"),
        (["--set", "diffcdr.nfe=many"], "should be a valid integer"),
        (["--test-fraction", "1.5"], "split.test_fraction=1.5"),
        (["--test-fraction", "0.001"], "0 for the test"),
        (["--model", "difcdr"], "did you mean 'diffcdr'?"),
        (["--models", "bias,emcd"], "did you mean 'emcdr'?"),
        (["--rating-range", "5,1"], "--rating-range '5,1'"),
        (["--rating-range", "20,30"], "films.csv"),
        (["--source-columns", "who=user_id"], "--source-columns"),
        (["--source-columns", "user=who"], "no column 'who'"),
        (["--target-columns", "user=item_id"], "'item_id' would be both the user and the item"),
        (["--source-titles", "/nowhere/titles.csv"], "/nowhere/titles.csv"),
        (["--resume"], "--resume needs --checkpoint"),
        (["--source", "/nowhere/films.csv"], "/nowhere/films.csv"),
        (["--set", "base.lr=1e30"], "diverged"),
    ],
)
def test_a_mistake_ends_with_one_sentence_and_nothing_published(
    tmp_path: Path,
    files: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    bundle = tmp_path / "out" / "bundle"
    assert run(*command(files, bundle), *options) == InputError.exit_code
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list((tmp_path / "out").glob("*"))
    assert not list((tmp_path / "out").glob(".*"))


def test_a_failed_run_leaves_the_old_bundle(tmp_path: Path, files: tuple[Path, Path]) -> None:
    bundle = tmp_path / "bundle"
    assert run(*command(files, bundle), "--model", "mean") == 0
    before = open_bundle(bundle).id
    assert run(*command(files, bundle), "--set", "base.lr=1e30") != 0
    assert open_bundle(bundle).id == before
    assert run(*command(files, bundle), "--model", "bias") == 0
    assert open_bundle(bundle).manifest.model == "bias"


def test_an_unwritable_destination_is_refused_before_any_file_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("")
    missing = (tmp_path / "missing.csv", tmp_path / "missing.csv")
    assert run(*command(missing, tmp_path / "photos")) == InputError.exit_code
    assert "not a bundle" in capfd.readouterr().err
    (tmp_path / "file").write_text("")
    options = ["--checkpoint", tmp_path / "file" / "state"]
    assert run(*command(missing, tmp_path / "bundle"), *options) == InputError.exit_code
    assert "choose another --checkpoint" in capfd.readouterr().err


def test_checkpoints_are_started_anew_unless_resumed(
    tmp_path: Path, files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    state = ["--checkpoint", tmp_path / "state", "--model", "emcdr"]
    assert run(*command(files, tmp_path / "first"), *state) == 0
    # Another seed: the old state is not this run's.
    assert run(*command(files, tmp_path / "second"), *state, "--seed", "1") == 0
    assert run(*command(files, tmp_path / "third"), *state, "--seed", "1", "--resume") == 0
    vectors = [open_bundle(tmp_path / name).affine for name in ("first", "second", "third")]
    matrices = [affine[0].tolist() for affine in vectors if affine is not None]
    assert matrices[0] != matrices[1] == matrices[2]
    capfd.readouterr()
    assert run(*command(files, tmp_path / "fourth"), *state, "--seed", "2", "--resume") == InputError.exit_code
    assert "of another run" in capfd.readouterr().err


def test_models_are_trained_in_one_order_whatever_was_asked_for() -> None:
    def names(publish: str, others: str) -> list[str]:
        return list(TrainPlan.parse("reference", model=publish, models=others).models)

    assert names("diffcdr", "plain") == ["mean", "bias", "popular", "diffcdr"]
    assert names("bias", "plain") == ["mean", "bias", "popular"]
    assert names("bias", "emcdr, tgt,") == ["mean", "bias", "popular", "tgt", "emcdr"]
    assert names("mean", "all") == [name for name in MODELS if name not in OF_HISTORIES]


def test_the_champion_is_published(tmp_path: Path, files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*command(files, tmp_path / "b"), "--model", "diffcdr", "--select", "hr@20") == 0
    manifest = open_bundle(tmp_path / "b").manifest
    best = max(figures["hr@20"] for figures in manifest.metrics["validation"].values())
    assert manifest.metrics["validation"][manifest.model]["hr@20"] == best
    capfd.readouterr()
    assert run(*command(files, tmp_path / "c"), "--select", "ndgc@20") == InputError.exit_code
    assert "did you mean 'ndcg@20'" in capfd.readouterr().err


def test_rating_ranges() -> None:
    assert parse_rating_range("1,5") == (1.0, 5.0)
    assert parse_rating_range("-0.5, 1e1") == (-0.5, 10.0)
    for text in ("", "1", "1,2,3", "5,1", "1,1", "a,b", "1,inf", "nan,5"):
        with pytest.raises(InputError, match="--rating-range"):
            parse_rating_range(text)
