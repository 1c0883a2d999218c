"""Small planted bundles for tests: a known map, known tables, written by the real writer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.attributes import NO_ATTRIBUTES, Attribute, ItemAttributes
from diffcdr.bundle.display_tables import SourceHistory, UserMap
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import (
    Counts,
    FoldInSpec,
    InputFile,
    LikesSpec,
    Manifest,
    Paired,
    Provenance,
    ScoringSpec,
    SparseSpec,
    TransferSpec,
    WarmSpec,
)
from diffcdr.bundle.neighbours import NEIGHBOURS_FOLDER
from diffcdr.bundle.reader import ONNX_FILE, BundleWriter

METRICS = {
    "test": {
        "diffcdr": {"rmse": 0.91, "mae": 0.70, "ndcg@20": 0.14},
        "bias": {"rmse": 0.93, "mae": 0.71, "ndcg@20": 0.05},
        "popular": {"rmse": 1.02, "mae": 0.80, "ndcg@20": 0.06},
    }
}
STANDARD_ERRORS = {
    "test": {
        "diffcdr": {"rmse": 0.012, "mae": 0.009, "ndcg@20": 0.008},
        "bias": {"rmse": 0.011, "mae": 0.01, "ndcg@20": 0.004},
        "popular": {"rmse": 0.013, "mae": 0.011, "ndcg@20": 0.005},
    }
}
PAIRED = {"test": {"popular": Paired(metric="ndcg@20", difference=0.08, standard_error=0.003)}}


def write_bundle(
    path: Path,
    *,
    seed: int = 0,
    users: int | Sequence[str] = 50,
    items: int | Sequence[str] = 60,
    source_items: int = 40,
    warm_users: int = 10,
    target_only_users: int = 5,
    source_dim: int = 8,
    target_dim: int = 6,
    kind: Literal["affine", "onnx"] = "affine",
    objective: Literal["rating", "ranking"] = "rating",
    fold_in: Literal["ridge", "als"] | None = "ridge",
    warm: Literal["ridge", "als"] | None = "ridge",
    titles: bool = True,
    console: bool = False,
    neighbours: bool = False,
    likes: float | None = None,
    attributes: bool | Sequence[str] = False,
) -> str:
    """Write a bundle at ``path`` and return its id. Everything in it is drawn from ``seed``.

    Source users are ``u00000``, …; the first ``warm_users`` of them are warm in the target too, along with
    ``target_only_users`` users ``v00000``, … that the source has never seen. Each warm user has seen five items.
    Source items are ``s00000``, …; target items ``t00000``, …; ``users`` and ``items`` also take the ids themselves.
    ``console`` adds what the console shows: each source user's three ratings, and a map of the warm ones.
    ``neighbours`` adds a sparse term: each source user's two to six items (with ``console``, the three that are shown),
    and what some source items' neighbours are.
    ``attributes`` adds those of :func:`item_attributes`, or those named.
    ``likes``: the lowest rating that is one; warm users liked the first two of the items that they have seen.
    ``kind`` "onnx" plants ``tanh(x A + b)``, "affine" plants ``x A + b``.
    """
    rng = np.random.default_rng(seed)
    user_table = IdTable.build(_ids("u", users))
    item_table = IdTable.build(_ids("t", items))
    source_item_table = IdTable.build(_ids("s", source_items))
    overlap = user_table.take(np.arange(min(warm_users, len(user_table))))
    warm_table = IdTable.build([*overlap, *_ids("v", target_only_users)])
    matrix = _normal(rng, source_dim, target_dim)
    offset = _normal(rng, target_dim)
    known_items = item_attributes(seed, len(item_table)) if attributes else NO_ATTRIBUTES
    if not isinstance(attributes, bool):
        known_items = ItemAttributes({name: known_items.columns[name] for name in attributes})
    seen_per_user = min(5, len(item_table))
    seen = np.stack(
        [np.sort(rng.choice(len(item_table), seen_per_user, replace=False)) for _ in range(len(warm_table))]
    )
    with BundleWriter(path) as writer:
        writer.ids("source_users", user_table)
        writer.array("source_users/vectors.npy", _normal(rng, len(user_table), source_dim))
        writer.ids("source_items", source_item_table)
        writer.array("source_items/vectors.npy", _normal(rng, source_items, source_dim))
        writer.array("source_items/biases.npy", _normal(rng, source_items))
        writer.ids("target_users", warm_table)
        writer.array("target_users/vectors.npy", _normal(rng, len(warm_table), target_dim))
        writer.array("target_users/seen_indptr.npy", np.arange(len(warm_table) + 1, dtype=np.int64) * seen_per_user)
        writer.array("target_users/seen_items.npy", seen.astype(np.int32).reshape(-1))
        if likes is not None:
            writer.array("target_users/seen_liked.npy", np.tile(np.arange(seen_per_user) < 2, len(warm_table)))
        writer.ids("target_items", item_table)
        writer.array("target_items/vectors.npy", _normal(rng, len(item_table), target_dim))
        writer.array("target_items/biases.npy", _normal(rng, len(item_table)))
        writer.array("target_items/popularity.npy", rng.permutation(len(item_table)).astype(np.int64) + 1)
        if titles:
            writer.titles("source_items", [f"Source {row}" for row in range(source_items)])
            writer.titles("target_items", [f"Title {row}" if row % 7 else "" for row in range(len(item_table))])
        if console:
            _console_tables(seed, len(user_table), source_items, len(overlap), len(item_table), writer)
        if neighbours:
            _neighbours(seed, len(user_table), source_items, len(item_table), writer, shown=console)
        known_items.write(writer)
        if kind == "affine":
            writer.array("transfer/matrix.npy", matrix)
            writer.array("transfer/offset.npy", offset)
        else:
            writer.data(ONNX_FILE, tanh_graph(matrix, offset))
        return writer.publish(
            Manifest(
                created_at=datetime(2024, 1, 1, tzinfo=UTC),
                generator="diffcdr tests",
                model="diffcdr",
                preset="robust",
                transfer=TransferSpec(kind=kind, source_dim=source_dim, target_dim=target_dim, has_onnx=kind == "onnx"),
                scoring=ScoringSpec(
                    objective=objective, offset=3.5, rating_range=(1.0, 5.0) if objective == "rating" else None
                ),
                sparse=SparseSpec(length_power=1.0) if neighbours else None,
                fold_in=_fold_in(fold_in, source_dim),
                likes=None if likes is None else LikesSpec(source=likes, target=likes),
                warm=WarmSpec(kind=warm, strength=2.0, confidence=10.0 if warm == "als" else 1.0) if warm else None,
                attributes=known_items.specs(),
                counts=Counts(
                    source_users=len(user_table),
                    source_items=source_items,
                    target_users=len(warm_table),
                    target_items=len(item_table),
                    overlap_users=len(overlap),
                ),
                provenance=_provenance(seed),
                metrics=METRICS,
                standard_errors=STANDARD_ERRORS,
                paired=PAIRED,
            )
        )


def _console_tables(seed: int, users: int, source_items: int, overlap: int, items: int, writer: BundleWriter) -> None:
    rng = np.random.default_rng([seed, 1])
    rated = _shown(rng, users, source_items)
    per_user = rated.shape[1]
    ratings = rng.integers(1, 6, users * per_user).astype(np.float32)
    indptr = np.arange(users + 1, dtype=np.int64) * per_user
    SourceHistory(indptr, rated.astype(np.int32).reshape(-1), ratings).write(writer)
    UserMap(
        users=np.arange(overlap, dtype=np.int32),
        source=_normal(rng, overlap, 2),
        transferred=_normal(rng, overlap, 2),
        target=_normal(rng, overlap, 2),
        items=np.arange(min(8, items), dtype=np.int32),
        item_points=_normal(rng, min(8, items), 2),
        others={"ridge": _normal(rng, overlap, 2)},
    ).write(writer)


def item_attributes(seed: int, items: int) -> ItemAttributes:
    """Of ``items`` items, some without a value each: price, pages, language, new, genre, tags and available."""
    rng = np.random.default_rng([seed, 3])
    languages, genres, tags = ["de", "en", "fr"], ["crime", "drama", "poetry", "travel"], ["gift", "sale"]

    def some() -> npt.NDArray[np.bool_]:
        return rng.random(items) < 0.9

    def lists(words: list[str]) -> Attribute:
        has = rng.random((items, len(words))) < 0.3
        indptr = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int64)
        return Attribute.categories(indptr, np.nonzero(has)[1], words)

    return ItemAttributes(
        {
            "price": Attribute.numbers(rng.integers(1, 9, items) / 4, some()),
            "pages": Attribute.numbers(rng.integers(50, 900, items), some()),
            "language": Attribute.texts(rng.integers(0, 3, items), some(), languages),
            "new": Attribute.booleans(rng.random(items) < 0.3, some()),
            "genre": lists(genres),
            "tags": lists(tags),
            "available": Attribute.booleans(rng.random(items) < 0.95, some()),
        }
    )


def _shown(rng: np.random.Generator, users: int, source_items: int) -> npt.NDArray[np.int64]:
    per_user = min(3, source_items)
    return np.stack([np.sort(rng.choice(source_items, per_user, replace=False)) for _ in range(users)])


def _neighbours(
    seed: int, users: int, source_items: int, items: int, writer: BundleWriter, *, shown: bool = False
) -> None:
    rng = np.random.default_rng([seed, 2])
    rated = [np.sort(rng.choice(source_items, int(rng.integers(2, 7)), replace=False)) for _ in range(users)]
    if shown:
        rated = list(_shown(np.random.default_rng([seed, 1]), users, source_items))
    related = [np.sort(rng.choice(items, rng.integers(0, items // 4), replace=False)) for _ in range(source_items)]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in related])])
    tables: dict[str, npt.NDArray[Any]] = {
        "indptr": indptr.astype(np.int64),
        "items": np.concatenate(related).astype(np.int32),
        "values": rng.uniform(0.1, 2.0, int(indptr[-1])).astype(np.float32),
        "item_weights": rng.uniform(0.5, 3.0, source_items).astype(np.float32),
        "user_indptr": np.concatenate([[0], np.cumsum([len(each) for each in rated])]).astype(np.int64),
        "user_items": np.concatenate(rated).astype(np.int32),
    }
    for name, table in tables.items():
        writer.array(f"{NEIGHBOURS_FOLDER}/{name}.npy", table)


def tanh_graph(matrix: npt.NDArray[np.float32], offset: npt.NDArray[np.float32]) -> bytes:
    """An ONNX model ``source [batch, source_dim] -> target = tanh(source matrix + offset)``, serialised."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - only bundles with a graph need it

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["source", "matrix", "offset"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["target"]),
        ],
        "transfer",
        [helper.make_tensor_value_info("source", TensorProto.FLOAT, ["batch", matrix.shape[0]])],
        [helper.make_tensor_value_info("target", TensorProto.FLOAT, ["batch", matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(offset, "offset")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _ids(prefix: str, wanted: int | Sequence[str]) -> list[str]:
    return [f"{prefix}{row:05d}" for row in range(wanted)] if isinstance(wanted, int) else list(wanted)


def _normal(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    values: npt.NDArray[Any] = rng.normal(scale=0.5, size=shape)
    return values.astype(np.float32)


def _fold_in(kind: Literal["ridge", "als"] | None, dim: int) -> FoldInSpec | None:
    if kind is None:
        return None
    return FoldInSpec(kind=kind, offset=3.0, regularisation=(0.5,) * dim, confidence=10.0 if kind == "als" else 1.0)


def _provenance(seed: int) -> Provenance:
    def file(name: str) -> InputFile:
        return InputFile(name=name, sha256="0" * 64, rows_read=1000, rows_kept=990, cleaning={"duplicate": 10})

    return Provenance(
        source=file("source.parquet"),
        target=file("target.parquet"),
        seed=seed,
        test_fraction=0.2,
        split={"train": 6, "validation": 2, "test": 2},
    )
