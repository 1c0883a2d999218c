"""Bytes for whatever reads some: heads of arrays, manifests, graphs; requests. Only answers and refusals may come back.

For long: make fuzz, or python -m tests.attack.fuzz --minutes 10
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcdr.bundle.format import MANIFEST, MANIFEST_HASH, hash_line, read_manifest
from diffcdr.bundle.npy import map_array
from diffcdr.errors import BundleError
from diffcdr.recommend.graph_files import check_graph
from tests.attack.fuzz_requests import (
    bodies,
    conversations,
    done,
    edit,
    entries,
    nothing_logged,
    try_body,
    try_conversation,
    try_entries,
)
from tests.bundles import tanh_graph, write_bundle
from tests.serving import serving

_VALUES = st.sampled_from(
    ["True", "False", "None", "-1", "1e400", "'<f4'", "'|O'", "(2,3)", "(2,)", "()", "[", "1_0", "{}"]
)
_PAIRS = st.lists(
    st.tuples(st.sampled_from(["'descr'", "'shape'", "'fortran_order'", "'x'", "1"]), _VALUES), max_size=5
)
_HEADS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    _PAIRS.map(lambda pairs: ("{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}").encode()),
    st.builds(
        lambda descr, shape, order: f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode(),
        st.sampled_from(["<f4", ">f8", "|S3", "|O", "<i8", "|V0", "<U2", "<M8[D]", "f4,f4", ""]),
        st.lists(st.integers(-3, 2**70), max_size=4).map(tuple),
        st.booleans(),
    ),
)


def array_bytes() -> st.SearchStrategy[bytes]:
    """Files that are nearly ``.npy``."""
    magic = st.sampled_from([np.lib.format.magic(1, 0), np.lib.format.magic(2, 0), b"\x93NUMPY\x03\x00", b"", b"PK"])

    def built(start: bytes, head: bytes, wrong: int, body: bytes) -> bytes:
        width = 4 if start.endswith(b"\x02\x00") else 2
        return start + max(0, min(len(head) + wrong, 256**width - 1)).to_bytes(width, "little") + head + body

    return st.builds(built, magic, _HEADS, st.sampled_from([0, 0, 0, 1, -1, 60_000]), st.binary(max_size=64))


def try_array(folder: Path, content: bytes) -> None:
    """An array as large as its file, or ValueError."""
    (folder / "x.npy").write_bytes(content)
    try:
        found = map_array(folder / "x.npy")
    except ValueError:
        done["array refused"] += 1
        return
    assert found.nbytes <= len(content) and not found.dtype.hasobject
    done["array taken"] += 1


def try_manifest(folder: Path, content: bytes) -> None:
    """A manifest that can be written as JSON again, or BundleError."""
    (folder / MANIFEST).write_bytes(content)
    (folder / MANIFEST_HASH).write_bytes(hash_line(hashlib.sha256(content).hexdigest()))
    try:
        manifest, _ = read_manifest(folder)
    except BundleError:
        done["manifest refused"] += 1
        return
    json.dumps(manifest.metrics, allow_nan=False)
    done["manifest taken"] += 1


def try_graph(_: Path, content: bytes) -> None:
    """Nothing, or BundleError."""
    try:
        check_graph(memoryview(content))
    except BundleError:
        done["graph refused"] += 1
        return
    done["graph taken"] += 1


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` with some of its bytes replaced, left out or repeated."""
    places = st.lists(st.tuples(st.integers(0, len(seed)), st.integers(0, 40), st.binary(max_size=12)), max_size=6)

    return places.map(lambda edits: edit(seed, edits))


def changed_manifests(seed: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """``seed`` with members of whatever depth replaced by something else."""
    values = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({})
    )

    def change(edits: list[tuple[list[int], Any]]) -> bytes:
        copy = json.loads(json.dumps(seed))
        for way, value in edits:
            place: Any = copy
            for step in way:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = keys[step % len(keys)]
                if not isinstance(place[key], dict | list) or step == way[-1]:
                    place[key] = value
                    break
                place = place[key]
        return json.dumps(copy).encode()

    return st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=1, max_size=4), values), max_size=4).map(change)


def targets(folder: Path) -> list[tuple[Callable[[Any], None], st.SearchStrategy[Any]]]:
    """What reads bytes of a bundle, and which to give it."""
    write_bundle(folder / "bundle")
    text = (folder / "bundle" / MANIFEST).read_bytes()
    array = io.BytesIO()
    np.save(array, np.arange(24, dtype=np.float32).reshape(4, 6))
    graph = tanh_graph(np.ones((3, 2), dtype=np.float32), np.ones(2, dtype=np.float32))
    return [
        (
            partial(try_array, folder),
            st.one_of(array_bytes(), mutated(array.getvalue()), mutated(array.getvalue()[:-24])),
        ),
        (partial(try_manifest, folder), st.one_of(mutated(text), changed_manifests(json.loads(text)))),
        (partial(try_graph, folder), st.one_of(mutated(graph), st.binary(max_size=200))),
        (try_entries, entries),
        (try_body, bodies),
    ]


def fuzz(folder: Path, *, examples: int) -> None:
    """Give ``examples`` inputs to each reader, and as many conversations to a service."""
    for try_out, inputs in targets(folder):
        _give(try_out, inputs, examples)
    with nothing_logged(), serving(folder / "bundle", state_url=f"sqlite:{folder / 'state.sqlite'}") as client:
        _give(partial(try_conversation, port=client.base_url.port), conversations, examples)
        assert client.get("/livez").status_code == 200


def _give(try_out: Callable[[Any], None], inputs: st.SearchStrategy[Any], examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=inputs)
    def each(content: Any) -> None:
        try_out(content)

    each()


def main() -> None:
    """For so many minutes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    ends = time.monotonic() + 60 * parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        number = 0
        while time.monotonic() < ends:
            folder = Path(name) / str(number)
            folder.mkdir()
            fuzz(folder, examples=1000)
            number += 1
            print(dict(sorted(done.items())), flush=True)


if __name__ == "__main__":
    main()
