"""A bundle of any size with drawn tables, written by the real writer; nobody was trained."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.attributes import Attribute, AttributeSpec, ItemAttributes
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import (
    Counts,
    FoldInSpec,
    InputFile,
    Manifest,
    Provenance,
    ScoringSpec,
    TransferSpec,
    WarmSpec,
)
from diffcdr.bundle.reader import ONNX_FILE, BundleWriter


def write_drawn_bundle(
    path: Path,
    *,
    users: int,
    items: int,
    dim: int = 10,
    seen: int = 0,
    source_items: int = 0,
    graph: bytes | None = None,
) -> None:
    """Write ``users`` source users ``u0000000``, … and ``items`` target items at ``path``.

    ``seen``: if above 0, every source user is also a warm user who has rated that many items.
    ``graph``: the transfer, an ONNX model; affine if not given.
    Each item has an attribute ``price``, drawn evenly between 0 and 1.
    ``source_items``: if above 0, ratings of that many source items fold in, and target ratings move lists.
    """
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    price = Attribute.numbers(np.random.default_rng(1).random(items), np.ones(items, dtype=np.bool_))
    attributes = ItemAttributes({"price": price})
    user_ids, item_ids = numbered("u", users), numbered("t", items)
    warm = users if seen else 0
    with BundleWriter(path) as writer:
        writer.ids("source_users", user_ids)
        writer.array("source_users/vectors.npy", drawn(users, dim))
        writer.ids("source_items", numbered("s", source_items or 1))
        writer.array("source_items/vectors.npy", drawn(source_items or 1, dim))
        writer.array("source_items/biases.npy", drawn(source_items or 1))
        writer.ids("target_users", IdTable(user_ids.array[:warm]))
        writer.array("target_users/vectors.npy", drawn(warm, dim))
        writer.array("target_users/seen_indptr.npy", np.arange(warm + 1, dtype=np.int64) * seen)
        rated = np.sort(rng.integers(items, size=(warm, seen), dtype=np.int32), axis=1)
        writer.array("target_users/seen_items.npy", rated.reshape(-1))
        writer.ids("target_items", item_ids)
        attributes.write(writer)
        writer.array("target_items/vectors.npy", drawn(items, dim))
        writer.array("target_items/biases.npy", drawn(items))
        writer.array("target_items/popularity.npy", rng.permutation(items).astype(np.int64) + 1)
        if graph is None:
            writer.array("transfer/matrix.npy", drawn(dim, dim) / np.float32(np.sqrt(dim)))
            writer.array("transfer/offset.npy", drawn(dim))
        else:
            writer.data(ONNX_FILE, graph)
        manifest = _manifest(users=users, source_items=source_items or 1, items=items, warm=warm, dim=dim)
        if graph is not None:
            spec = TransferSpec(kind="onnx", source_dim=dim, target_dim=dim, has_onnx=True)
            manifest = manifest.model_copy(update={"transfer": spec})
        if source_items:
            fold_in = FoldInSpec(kind="ridge", regularisation=(1.0,) * dim)
            manifest = manifest.model_copy(update={"fold_in": fold_in, "warm": WarmSpec(kind="ridge", strength=2.0)})
        writer.publish(manifest)


def numbered(letter: str, count: int) -> IdTable:
    """Ids ``letter`` and seven digits, in order."""
    return IdTable(np.char.add(letter.encode(), np.char.zfill(np.arange(count).astype("S7"), 7)))


def _manifest(*, users: int, source_items: int, items: int, warm: int, dim: int) -> Manifest:
    nothing = InputFile(name="drawn", sha256="0" * 64, rows_read=0, rows_kept=0)
    return Manifest(
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
        generator="diffcdr bench",
        model="drawn",
        preset="none",
        transfer=TransferSpec(kind="affine", source_dim=dim, target_dim=dim),
        scoring=ScoringSpec(objective="ranking"),
        attributes=(AttributeSpec(name="price", kind="number"),),
        counts=Counts(
            source_users=users, source_items=source_items, target_users=warm, target_items=items, overlap_users=warm
        ),
        provenance=Provenance(
            source=nothing,
            target=nothing,
            seed=0,
            test_fraction=0.2,
            split={"train": warm, "validation": 0, "test": 0},
        ),
    )
