"""Ratings sent over HTTP -> ``diffcdr events export`` -> ``diffcdr train --events``: the next bundle knows them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from tests.command import run
from tests.integration.journeys.training_run import train
from tests.serving import serving
from tests.unit.training.tiny import write_domains


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_domains(tmp_path)


def sent(user: str, item: str, domain: str, **instead: object) -> dict[str, object]:
    event = {"event_id": f"{user}{item}", "user_id": user, "item_id": item, "domain": domain}
    return event | (instead or {"rating": 4.5})


def test_what_was_sent_is_learnt_from_and_the_erased_are_not(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second, exported = tmp_path / "first", tmp_path / "second", tmp_path / "events.parquet"
    state = f"sqlite:{tmp_path / 'state.sqlite'}"
    assert train(files, first) == 0
    body = [
        *(sent(user, "films-03", "source") for user in ("007", "gone", "out")),
        sent("reader", "books-new", "target"),
        sent("gone", "books-gone", "target"),
        sent("reader", "books-bought", "target", type="purchase", position=2),
        sent("reader", "books-shown", "target", type="impression"),
    ]
    with serving(first, state_url=state) as client:
        assert client.post("/v1/events", json={"events": body}).json()["accepted"] == len(body)
        assert client.put("/v1/users/out/opt-out").status_code == 204
        assert client.delete("/v1/users/gone").status_code == 202
        # While it is being served.
        capfd.readouterr()
        assert run("events", "export", "--state", state, "--out", exported, "--since", "2020-01-01") == 0
    said = capfd.readouterr().err
    assert "4 events of 2 users" in said and "1 of users who opted out or were erased were left out" in said

    assert train(files, second, "--events", exported) == 0
    exported_events = pl.read_parquet(exported)
    assert exported_events.filter(type="purchase").select("rating", "position").rows() == [(None, 2)]
    assert exported_events["type"].sort().to_list() == ["impression", "purchase", "rating", "rating"]
    assert "events: 1 of events.parquet" in capfd.readouterr().err
    bundle = open_bundle(second)
    inputs = bundle.manifest.provenance
    for input_file, file, count in ((inputs.source, files[0], 1), (inputs.target, files[1], 2)):
        assert input_file.rows_read == pl.read_csv(file).height + count
        assert input_file.how["events"].startswith(f"{count} of events.parquet (")
    assert inputs.target.how["events"].endswith("1 more without a weight left out")
    assert bundle.source_users.ids.row("007") >= 0 and bundle.target_users.ids.row("reader") >= 0
    assert bundle.target_items.ids.row("books-new") >= 0 and bundle.target_items.ids.row("books-bought") >= 0
    assert bundle.target_items.ids.row("books-shown") == -1
    assert bundle.source_users.ids.row("gone") == bundle.source_users.ids.row("out") == -1
    assert bundle.target_items.ids.row("books-gone") == -1


def test_mistakes_are_one_sentence_and_leave_nothing(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, out = tmp_path / "state.sqlite", tmp_path / "out.parquet"

    def refused(status: int, words: str) -> None:
        said = capfd.readouterr().err
        assert (status, "Traceback" in said) == (2, False)
        assert words in said, said
        assert not out.exists() and not (tmp_path / "bundle").exists() and not list(tmp_path.glob(".out*"))

    refused(run("events", "export", "--state", f"sqlite:{state}", "--out", out), "no state file")
    with serving(_bundle(files, tmp_path), state_url=f"sqlite:{state}") as client:
        assert client.put("/v1/users/out/opt-out").status_code == 204
    capfd.readouterr()
    export = ("events", "export", "--state", f"sqlite:{state}", "--out")
    refused(run(*export, out, "--since", "yesterday"), "--since 'yesterday' is not a time")
    refused(run(*export, out.with_suffix(".xls")), "use .parquet, .csv or .jsonl")
    with sqlite3.connect(state) as connection:  # who opted out is forgotten, so nobody can tell whom to leave out
        connection.execute("DELETE FROM people")
    refused(run(*export, out), "nothing was written")

    events = tmp_path / "events.parquet"
    refused(train(files, tmp_path / "bundle", "--events", events), "cannot be read")
    events.write_bytes(b"no parquet")
    refused(train(files, tmp_path / "bundle", "--events", events), "cannot be read")
    pl.DataFrame({"user_id": ["a"]}).write_parquet(events)
    refused(train(files, tmp_path / "bundle", "--events", events), "has no column item_id")
    row = {"user_id": ["a"], "item_id": ["b"], "rating": [1.0], "domain": ["music"], "timestamp": [0]}
    pl.DataFrame(row).write_parquet(events)
    refused(train(files, tmp_path / "bundle", "--events", events), "a domain is 'music'")
    pl.DataFrame(row).clear().write_parquet(events)
    refused(train(files, tmp_path / "bundle", "--events", events), "holds no events")
    arguments = ("--tables", tmp_path, "--bundle", tmp_path / "bundle", "--events", events)
    refused(run("train", *arguments), "leave out --tables")


def _bundle(files: tuple[Path, Path], folder: Path) -> Path:
    assert train(files, folder / "served") == 0
    return folder / "served"
