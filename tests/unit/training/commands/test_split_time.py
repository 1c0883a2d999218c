"""``--split time`` from the command line: said on screen, in the bundle and in reports."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from tests.command import run, said
from tests.unit.training.tiny import QUICK, write_domains

SETTINGS = [part for override in QUICK for part in ("--set", override)]
CUT = "2020-09-13T12:26:49Z"
DAY = 1_600_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The small domains with times: u045 to u059 come to the books on the next day, one of which is new then."""
    source, target = write_domains(tmp_path_factory.mktemp("timed"))
    late = pl.col("user_id").is_between(pl.lit("u045"), pl.lit("u059"))
    of_row = pl.int_range(pl.len()) % 10
    pl.read_csv(source).with_columns(timestamp=DAY + of_row).write_csv(source)
    books = pl.read_csv(target).with_columns(timestamp=DAY + of_row + 86_400 * late.cast(pl.Int64))
    added = pl.DataFrame({"user_id": ["u059"], "item_id": ["books-99"], "rating": [5.0], "timestamp": [DAY + 99_999]})
    pl.concat([books, added.cast(dict(books.schema))]).write_csv(target)
    return ["--source", source, "--target", target, "--preset", "reference", *SETTINGS, "--split", "time"]


def test_a_bundle_of_the_past_says_so(files: list[object], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shown = " ".join(said("train", *files, "--bundle", bundle, "--model", "emcdr", "--test-fraction", "0.25").split())
    assert f"training and bundle end at {CUT}; the test is of 15 users" in shown
    assert "1 more ratings of items that came later" in shown
    assert f"On 15 test users who came after {CUT}" in shown
    found = open_bundle(bundle)
    assert (found.manifest.provenance.cut, found.manifest.provenance.config["split"]["by"]) == (CUT, "time")
    assert found.manifest.provenance.split["test"] == 15
    assert CUT in found.manifest.provenance.source.how["split"]
    assert found.target_items.ids.row("books-99") < 0
    assert found.target_users.ids.row("u059") < 0 <= found.source_users.ids.row("u059")
    assert f"On 15 test users who came after {CUT}" in " ".join(said("inspect", bundle).split())
    assert f"training up to {CUT}" in " ".join(said("inspect", "--all", bundle).split())


def test_an_experiment_by_time_says_so(files: list[object], tmp_path: Path) -> None:
    grid = ["--models", "bias,emcdr", "--test-fractions", "0.25", "--seeds", "1", "--out", tmp_path / "out"]
    said("experiment", *files, *grid)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Split by time." in report and "Split by user." not in report
    assert "differs in settings" not in said("experiment", *files, *grid)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("experiment", "--warm", "--out", "out"), "--warm takes half of what test users rate later"),
        (("train", "--bundle", "out", "--split", "tim"), "--split 'tim' is not understood"),
        (("train", "--bundle", "out", "--test-fraction", "0.01"), "users are in both domains by then and"),
    ],
)
def test_what_cannot_be_split_is_refused_in_a_sentence(
    files: list[object],
    words: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words[0], *files, *words[1:]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0]
    assert not (tmp_path / "out").exists() or words[0] == "experiment"
