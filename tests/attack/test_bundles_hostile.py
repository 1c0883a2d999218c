"""Bundles with true hashes and false content, and what copies and hostile folders do: refused, told, and got over."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import numpy.typing as npt
import pytest

from diffcdr.atomic import file_sha256
from diffcdr.bundle.format import MANIFEST, MANIFEST_HASH, hash_line, record
from tests import web
from tests.attack.service_processes import NOT_YET
from tests.bundles import write_bundle
from tests.servers import Server, running_server
from tests.serving import metric
from tests.waiting import elapse, until

Manifest = dict[str, Any]


def seal(bundle: Path, change: Callable[[Manifest], None] = lambda manifest: None) -> None:
    """Make every hash of ``bundle`` true again, after ``change`` of its manifest."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"] = {
        found.relative_to(bundle).as_posix(): record(found).model_dump()
        for found in sorted(bundle.rglob("*"))
        if found.is_file() and found.name not in (MANIFEST, MANIFEST_HASH)
    }
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    (bundle / MANIFEST_HASH).write_bytes(hash_line(file_sha256(bundle / MANIFEST)))


def table(name: str, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        content = np.load(bundle / name)
        np.save(bundle / name, change(content.copy()))
        seal(bundle)

    return apply


def filled(value: float) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    return lambda content: np.full_like(content, value)


def first_is(value: Any) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    def change(content: npt.NDArray[Any]) -> npt.NDArray[Any]:
        content.flat[0] = value
        return content

    return change


def head(name: str, text: bytes) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        written = io.BytesIO()
        written.write(np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text)
        (bundle / name).write_bytes(written.getvalue() + b"\0" * 64)
        seal(bundle)

    return apply


def says(change: Callable[[Manifest], None]) -> Callable[[Path], None]:
    return lambda bundle: seal(bundle, change)


def infinite_metric(manifest: Manifest) -> None:
    manifest["metrics"]["test"]["diffcdr"]["rmse"] = float("inf")


def empty_range(manifest: Manifest) -> None:
    manifest["scoring"]["rating_range"] = [5.0, 1.0]


def endless_regularisation(manifest: Manifest) -> None:
    manifest["fold_in"]["regularisation"] = [float("nan")]


VECTORS, ITEMS = "target_items/vectors.npy", "target_users/seen_items.npy"
HOSTILE: dict[str, Callable[[Path], None]] = {
    "matrix of another shape": table("transfer/matrix.npy", lambda content: content[:, :-1]),
    "matrix transposed": table("transfer/matrix.npy", lambda content: np.ascontiguousarray(content.T)),
    "matrix of nothing": table("transfer/matrix.npy", filled(np.nan)),
    "matrix in Fortran order": table("transfer/matrix.npy", np.asfortranarray),
    "matrix of complex numbers": table("transfer/matrix.npy", lambda content: content.astype(np.complex64)),
    "offset infinite": table("transfer/offset.npy", filled(np.inf)),
    "offset too large": table("transfer/offset.npy", filled(3e38)),
    "vectors too large": table(VECTORS, filled(3e38)),
    "vectors one short": table(VECTORS, lambda content: content[:-1]),
    "vectors of text": table(VECTORS, lambda content: content.astype("S8")),
    "biases not finite": table("target_items/biases.npy", first_is(np.nan)),
    "popularity of reals": table("target_items/popularity.npy", lambda content: content + np.nan),
    "seen beyond the items": table(ITEMS, first_is(10**6)),
    "seen below the items": table(ITEMS, first_is(-5)),
    "seen divided backwards": table("target_users/seen_indptr.npy", lambda content: content[::-1].copy()),
    "seen divided beyond": table("target_users/seen_indptr.npy", lambda content: content * 2),
    "ids out of order": table("source_users/ids.npy", lambda content: content[::-1].copy()),
    "ids twice": table("target_items/ids.npy", lambda content: np.sort(np.where(content > b"t00003", content, b"t"))),
    "ids that are no text": table("target_items/ids.npy", lambda content: np.sort(first_is(b"\xff\xfe")(content))),
    "an empty id": table("source_users/ids.npy", first_is(b"")),
    "titles cut within": table("target_items/title_offsets.npy", lambda content: content[::-1].copy()),
    "titles that are no text": table("target_items/title_text.npy", filled(0xFF)),
    "history beyond the items": table("source_history/items.npy", first_is(10**6)),
    "map beyond the users": table("map/users.npy", first_is(10**6)),
    "map not finite": table("map/transferred.npy", first_is(np.nan)),
    "words twice": table("target_items/attributes/2/word_text.npy", filled(ord("a"))),
    "a word that is none": table("target_items/attributes/4/values.npy", filled(200)),
    "an infinite metric": says(infinite_metric),
    "an empty range": says(empty_range),
    "no regularisation": says(endless_regularisation),
    "a head that is huge": head(VECTORS, b"{'descr':'<f4','fortran_order':False,'shape':(99999999999,6)}\n"),
    "a head below zero": head(VECTORS, b"{'descr':'<f4','fortran_order':False,'shape':(-1,6)}\n"),
    "a head of objects": head(VECTORS, b"{'descr':'|O','fortran_order':False,'shape':(8,)}\n"),
    "a head too deep": head(VECTORS, b"(" * 3000 + b"\n"),
    "a head that is code": head(VECTORS, b"__import__('os').abort()\n"),
}


def external(bundle: Path) -> None:
    """A graph whose weights lie in a file of the working directory."""
    import onnx  # noqa: PLC0415 - a test's tool, slow to load

    model = onnx.load_from_string((bundle / "transfer.onnx").read_bytes())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(8 * 6 * 4))):
        weight.external_data.add(key=key, value=value)
    (bundle / "transfer.onnx").write_bytes(model.SerializeToString())
    seal(bundle)


def endless(bundle: Path) -> None:
    """A graph with a loop that does not end."""
    from onnx import TensorProto, helper, load_from_string, numpy_helper  # noqa: PLC0415

    model = load_from_string((bundle / "transfer.onnx").read_bytes())
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["held"], ["kept"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node[-1].output[0] = "almost"
    model.graph.node.append(helper.make_node("Loop", ["", "yes", "almost"], ["target"], body=body))
    (bundle / "transfer.onnx").write_bytes(model.SerializeToString())
    seal(bundle)


def no_graph(bundle: Path) -> None:
    (bundle / "transfer.onnx").write_bytes(b"no graph at all" * 20)
    seal(bundle)


def of_another_input(bundle: Path) -> None:
    content = (bundle / "transfer.onnx").read_bytes()
    (bundle / "transfer.onnx").write_bytes(content.replace(b"source", b"sauces"))
    seal(bundle)


GRAPHS = [external, no_graph, of_another_input, endless]


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
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 10
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
