"""Bundles with true hashes and false content, and hostile graphs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.atomic import file_sha256
from diffcdr.bundle.format import MANIFEST, MANIFEST_HASH, hash_line, record

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
