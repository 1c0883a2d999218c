"""``diffcdr retrain``: what is published, what is kept, and what a failed run leaves."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from service.state.opening import open_store
from tests.command import run
from tests.unit.training.tiny import QUICK, write_domains
from training.retrain.comparison import _unlearnt
from training.retrain.report import RetrainReport
from training.retrain.retraining import Retraining
from training.train import fit

NEW, ERASED = "a new reader", "u000"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small domains, events of a new user and of an old one, and a list of whom to leave out."""
    folder = tmp_path_factory.mktemp("data")
    write_domains(folder)
    rows = [
        (NEW, "films-00", 5.0, "source", 1_600_000_000, "rating"),
        (NEW, "books-01", None, "target", 1_600_000_001, "purchase"),
        ("u001", "books-02", 4.0, "target", 1_600_000_002, "rating"),
        ("u001", "books-03", None, "target", 1_600_000_003, "impression"),
    ]
    columns = ["user_id", "item_id", "rating", "domain", "timestamp", "type"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder / "events.parquet")
    (folder / "excluded.csv").write_text(f"user_id,receipt,erased_at\n{ERASED},r,2026-01-01\n")
    return folder


def retraining(data: Path, bundle: Path, *settings: str, model: str = "popular", **options: Any) -> Retraining:
    fit = {
        "source": data / "films.csv",
        "target": data / "books.csv",
        "preset": "reference",
        "settings": [*QUICK, *settings],
        "model": model,
        "test_fraction": 0.4,
    }
    return Retraining(bundle, lambda: (data / "events.parquet", data / "excluded.csv"), fit, **options)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != "bundle"]


@pytest.fixture(scope="module")
def active(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RetrainReport]:
    """A first run, with no bundle before it."""
    bundle = tmp_path_factory.mktemp("active") / "bundle"
    return bundle, retraining(data, bundle).run()


def test_the_first_run_learns_from_events_and_leaves_out_the_erased(active: tuple[Path, RetrainReport]) -> None:
    bundle, report = active
    assert (report.outcome, report.reason) == ("published", "There was no active bundle.")
    assert (report.events, report.active, report.comparison) == (3, None, None)
    found = open_bundle(bundle)
    assert found.id == report.bundle and leftovers(bundle.parent) == []
    assert found.source_users.ids.row(NEW) >= 0 and found.target_users.ids.row(NEW) >= 0
    assert found.source_users.ids.row(ERASED) < 0 and found.target_users.ids.row(ERASED) < 0
    assert found.manifest.provenance.target.how["events"].startswith("2 of events.parquet")
    assert report.metrics["popular"] == found.manifest.metrics["test"]["popular"]


def test_the_same_again_is_not_worse_and_a_worse_one_is_kept_out(
    data: Path, active: tuple[Path, RetrainReport]
) -> None:
    bundle, first = active
    again = retraining(data, bundle).run()
    assert again.comparison is not None and again.outcome == "published"
    assert again.comparison.users >= 20 and again.comparison.difference == again.comparison.standard_error == 0.0
    assert again.comparison.active_ndcg == pytest.approx(first.metrics["popular"]["ndcg@20"], abs=1e-12)

    # Vectors that begin as noise and are hardly trained rank worse than the popular list.
    worse = retraining(data, bundle, "base.init_std=5.0", model="tgt").run()
    assert worse.comparison is not None and worse.outcome == "kept"
    assert worse.comparison.difference < -worse.comparison.standard_error
    assert "more than one standard error" in worse.reason and worse.bundle is None
    assert open_bundle(bundle).id == again.bundle == worse.active and leftovers(bundle.parent) == []

    forced = retraining(data, bundle, "base.init_std=5.0", model="tgt", guard=False).run()
    assert (forced.outcome, forced.comparison) == ("published", None)
    assert open_bundle(bundle).manifest.model == "tgt"


@pytest.mark.parametrize("held_out", ["known", "cold"])
def test_whom_a_bundle_learnt_from_is_told_from_the_bundle(
    data: Path, tmp_path: Path, held_out: Literal["known", "cold"]
) -> None:
    trained = fit(**retraining(data, tmp_path).fit)
    trained.publish(tmp_path / "bundle", held_out=held_out)
    found = open_bundle(tmp_path / "bundle")
    prepared, unlearnt = trained.prepared, _unlearnt(found)
    shared = np.array(prepared.pair.overlap_ids())
    test, train = set(shared[prepared.split.test]), set(shared[prepared.split.train])
    assert test and all(unlearnt(user) for user in test)
    assert not any(unlearnt(user) for user in train)
    assert all((found.target_users.ids.row(user) >= 0) == (held_out == "known") for user in test)

    # Where the manifest counts more overlap users than the bundle knows, nobody at the edge is taken for unlearnt.
    counts = found.manifest.counts.model_copy(update={"overlap_users": len(shared) + 5})
    fewer = _unlearnt(replace(found, manifest=found.manifest.model_copy(update={"counts": counts})))
    assert len(test) - sum(map(fewer, test)) == (5 if held_out == "known" else 0)


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ((), {"min_events": 4}, "3 events count for training, and --min-events asks for 4"),
        (("base.lr=1e30",), {}, "diverged"),
        (("base.lrr=1",), {}, "did you mean"),
        (("split.test_fraction=0.05",), {}, "held-out users are new to both bundles"),
    ],
)
def test_a_failed_run_leaves_everything_as_it_was_and_says_why(
    data: Path, active: tuple[Path, RetrainReport], settings: tuple[str, ...], options: dict[str, Any], says: str
) -> None:
    bundle, _ = active
    before = open_bundle(bundle).id
    work = retraining(data, bundle, *settings, **options)
    if "split.test_fraction=0.05" in settings:
        work.fit["test_fraction"] = 0.05
    report = work.run()
    assert report.outcome == "failed" and says in report.reason
    assert (report.bundle, report.active) == (None, before)
    assert open_bundle(bundle).id == before and leftovers(bundle.parent) == []
    assert "everything is as it was" in report.markdown() and says in report.markdown()


def test_the_command_reads_the_state_and_writes_one_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = f"sqlite:{tmp_path / 'state.db'}"
    asyncio.run(_opt_out(state, "u005"))
    words = ["--source", data / "films.csv", "--target", data / "books.csv", "--bundle", tmp_path / "bundle"]
    words += ["--preset", "reference", "--model", "popular", "--reports", tmp_path / "reports", "--state", state]
    words += [part for each in QUICK for part in ("--set", each)]
    assert run("retrain", *words, "--min-events", "0") == 0
    found = open_bundle(tmp_path / "bundle")
    assert found.source_users.ids.row("u005") < 0 <= found.source_users.ids.row("u006")
    (report,) = (tmp_path / "reports").glob("*.json")
    assert json.loads(report.read_text())["outcome"] == "published"
    assert f"wrote {report.with_suffix('.md')}" in " ".join(capsys.readouterr().err.split())


def test_a_report_names_nobody_who_opted_out(data: Path, tmp_path: Path) -> None:
    (tmp_path / "excluded.csv").write_text("user_id\nsomebody-who-left\n")
    work = retraining(data, tmp_path / "bundle")
    work.fit["accept"] = {"unmatched-users"}
    report = replace(work, inputs=lambda: (data / "events.parquet", tmp_path / "excluded.csv")).run()
    assert report.outcome == "published"
    assert any("0 found in the ratings" in note for note in report.notes)
    assert "somebody-who-left" not in report.model_dump_json() + report.markdown()


def test_where_people_could_stay_in_it_refuses(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source", data / "films.csv", "--target", data / "books.csv", "--bundle", tmp_path / "bundle"]
    words += ["--reports", tmp_path / "reports"]
    assert run("retrain", *words, "--events", data / "events.parquet") == 2
    assert "or both --events and --exclude-users" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
    assert run("retrain", *words, "--state", f"sqlite:{tmp_path / 'none.db'}") == 1
    assert "there is no state file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    (report,) = (tmp_path / "reports").glob("*.json")
    assert json.loads(report.read_text())["outcome"] == "failed"


async def _opt_out(url: str, user: str) -> None:
    store = open_store(url, bundle=Path())
    try:
        await store.set_opt_out(user, True)
    finally:
        await store.close()
