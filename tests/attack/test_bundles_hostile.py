"""Bundles with true hashes and false content, and what copies and hostile folders do: refused, told, and got over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from diffcdr.atomic import file_sha256
from diffcdr.bundle.format import MANIFEST
from tests import web
from tests.attack.hostile_bundles import GRAPHS, HOSTILE, VECTORS
from tests.attack.service_processes import NOT_YET
from tests.bundles import write_bundle
from tests.servers import Server, running_server
from tests.serving import metric
from tests.waiting import elapse, until

Manifest = dict[str, Any]


def load(server: Server, path: str) -> httpx.Response:
    return web.post(f"{server.address}/v1/admin/models/load", json={"path": path})


def refusals_reach(client: httpx.Client, wanted: int) -> bool:
    return metric(client, "diffcdr_bundle_loads_total", outcome="refused") >= wanted


@contextmanager
def watching(published: Path, folder: Path) -> Iterator[httpx.Client]:
    """A client of a service that looks for another bundle all the time."""
    with (
        running_server(published, log=folder / "log", DIFFCDR_WATCH_SECONDS="0.1") as server,
        web.client(base_url=server.address) as client,
    ):
        yield client


def fine(server: Server) -> None:
    """It answers, as it did: with lists, and with its models."""
    said = web.post(f"{server.address}/v1/recommendations", json={"user_id": "u00040"})
    assert (said.status_code, said.json()["strategy"]) == (200, "transfer")
    assert web.get(f"{server.address}/v1/models").status_code == 200


@pytest.mark.attack
def test_every_hostile_bundle_is_refused_with_a_reason(tmp_path: Path) -> None:
    write_bundle(tmp_path / "good", console=True)
    settings = {"DIFFCDR_LOAD_SECONDS": "8"}
    with running_server(tmp_path / "good", log=tmp_path / "log", **settings) as server:
        for number, (name, spoil) in enumerate(HOSTILE.items(), start=1):
            bundle = tmp_path / f"hostile-{number}"
            write_bundle(bundle, console=True, attributes=True, seed=number)
            spoil(bundle)
            refused = load(server, bundle.name)
            assert (name, refused.status_code) == (name, 422), refused.text
            (last, *_) = web.get(f"{server.address}/v1/models").json()["refused"]
            assert last["path"] == bundle.name and str(tmp_path) not in last["reason"]
            shutil.rmtree(bundle)
        with web.client(base_url=server.address) as client:
            assert metric(client, "diffcdr_bundle_loads_total", outcome="refused") == len(HOSTILE)
        fine(server)
        assert server.stop() == 0


@pytest.mark.attack
def test_a_hostile_graph_is_refused_wherever_it_would_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "good")
    # What an external weight would be read from: where the service was started.
    (tmp_path / "weights.bin").write_bytes(np.ones((8, 6), dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    with running_server(tmp_path / "good", log=tmp_path / "log", DIFFCDR_LOAD_SECONDS="8") as server:
        for number, spoil in enumerate(GRAPHS, start=1):
            bundle = tmp_path / f"graph-{number}"
            write_bundle(bundle, kind="onnx", seed=number)
            spoil(bundle)
            refused = load(server, bundle.name)
            assert (spoil.__name__, refused.status_code) == (spoil.__name__, 422), refused.text
            fine(server)
        write_bundle(tmp_path / "graph", kind="onnx", seed=9)
        assert load(server, "graph").status_code == 200
        assert server.stop() == 0


def test_a_pipe_in_place_of_a_file_stops_neither_later_loads_nor_sigterm(tmp_path: Path) -> None:
    write_bundle(tmp_path / "good")
    write_bundle(tmp_path / "next", seed=1)
    for name in (MANIFEST, VECTORS):
        write_bundle(tmp_path / "piped", seed=2)
        (tmp_path / "piped" / name).unlink()
        os.mkfifo(tmp_path / "piped" / name)
        with running_server(tmp_path / "good", log=tmp_path / "log", DIFFCDR_LOAD_SECONDS="20") as server:
            assert load(server, "piped").status_code == 422
            assert load(server, "next").status_code == 200
            fine(server)
            assert server.stop() == 0
        shutil.rmtree(tmp_path / "piped")


def test_the_watcher_survives_what_is_published_and_takes_the_next_good_one(tmp_path: Path) -> None:
    published = tmp_path / "published"
    write_bundle(published)
    with watching(published, tmp_path) as client:
        first = client.get("/readyz").json()["bundle"]
        for number, name in enumerate(("matrix of another shape", "seen beyond the items", "a head that is huge")):
            spoiled = tmp_path / "spoiled"
            write_bundle(spoiled, console=True, seed=number + 10)
            HOSTILE[name](spoiled)
            shutil.rmtree(published)
            spoiled.rename(published)
            until(partial(refusals_reach, client, number + 1), while_raising=NOT_YET)
            assert client.get("/readyz").json()["bundle"] == first
        # A copy that brings the manifest first, and the rest in its own time.
        write_bundle(tmp_path / "whole", seed=5)
        shutil.rmtree(published)
        published.mkdir()
        names = sorted(found.relative_to(tmp_path / "whole") for found in (tmp_path / "whole").rglob("*.*"))
        for name in sorted(names, key=lambda each: not each.name.startswith("manifest")):
            (published / name).parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "whole" / name, published / name)
            elapse(0.03)
        elapse(0.5)
        last = file_sha256(published / MANIFEST)
        until(lambda: client.get("/readyz").json()["bundle"] == last, while_raising=NOT_YET)
        assert metric(client, "diffcdr_background_failures_total") == 0


def test_what_was_incomplete_for_long_is_taken_once_it_is_whole(tmp_path: Path) -> None:
    published = tmp_path / "published"
    write_bundle(published)
    with watching(published, tmp_path) as client:
        write_bundle(tmp_path / "whole", seed=5)
        held = tmp_path / "held.npy"
        (tmp_path / "whole" / VECTORS).rename(held)
        shutil.rmtree(published)
        (tmp_path / "whole").rename(published)
        until(lambda: metric(client, "diffcdr_bundle_loads_total", outcome="refused") == 1, while_raising=NOT_YET)
        assert "lacks target_items/vectors.npy" in client.get("/v1/models").json()["refused"][0]["reason"]
        held.rename(published / VECTORS)
        last = file_sha256(published / MANIFEST)
        until(lambda: client.get("/readyz").json()["bundle"] == last, while_raising=NOT_YET)
