"""An open bundle: verified by hash, memory-mapped, never pickled. Its files: ``format.py``; writing: ``writer.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array
from diffcdr.bundle.attributes import NO_ATTRIBUTES, ItemAttributes
from diffcdr.bundle.display_tables import ConsoleTables
from diffcdr.bundle.format import (
    INDEX_FILE,
    MANIFEST,
    MANIFEST_HASH,
    ONNX_FILE,
    check_files,
    open_regular,
    read_manifest,
)
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import Manifest
from diffcdr.bundle.neighbours import NeighbourTables
from diffcdr.bundle.npy import map_array
from diffcdr.bundle.titles import TitleTable
from diffcdr.bundle.writer import BundleWriter
from diffcdr.errors import BundleError

__all__ = [
    "MANIFEST",
    "MANIFEST_HASH",
    "ONNX_FILE",
    "Bundle",
    "BundleWriter",
    "SourceItems",
    "SourceUsers",
    "TargetItems",
    "TargetUsers",
    "open_bundle",
    "read_manifest",
]

ATTEMPTS = 20


@dataclass(frozen=True)
class SourceUsers:
    """``vectors``: float32 [n, source_dim]."""

    ids: IdTable
    vectors: Float32Array


@dataclass(frozen=True)
class SourceItems:
    """``vectors``: float32 [m, k], k = source_dim less the history features; ``biases``: float32 [m].

    ``idf`` float32 [m] and ``basis`` float32 [m, d]: where the manifest has ``fold_in.history``. ``level_biases``
    float32 [m]: where it has ``fold_in.shape``.
    """

    ids: IdTable
    vectors: Float32Array
    biases: Float32Array
    titles: TitleTable | None
    idf: Float32Array | None = None
    basis: Float32Array | None = None
    level_biases: Float32Array | None = None


@dataclass(frozen=True)
class TargetUsers:
    """Warm users. ``vectors``: float32 [n, target_dim]; seen items of row i: ``seen_items[indptr[i]:indptr[i+1]]``."""

    ids: IdTable
    vectors: Float32Array
    seen_indptr: npt.NDArray[np.int64]
    seen_items: npt.NDArray[np.int32]
    seen_liked: npt.NDArray[np.bool_] | None = None
    """[len(seen_items)], which of them the user liked; None for all."""

    def liked(self, row: int) -> npt.NDArray[np.int32]:
        """Target item rows that warm user ``row`` has liked, ascending."""
        if self.seen_liked is None:
            return self.seen(row)
        return self.seen(row)[self.seen_liked[self.seen_indptr[row] : self.seen_indptr[row + 1]]]

    def seen(self, row: int) -> npt.NDArray[np.int32]:
        """Target item rows that warm user ``row`` has rated, ascending."""
        return self.seen_items[self.seen_indptr[row] : self.seen_indptr[row + 1]]

    def seen_of(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Seen items of many warm users as CSR (indptr [B + 1], items); a row of -1 has none."""
        warm = np.flatnonzero(rows >= 0)
        starts = np.zeros(len(rows), dtype=np.int64)
        counts = np.zeros(len(rows), dtype=np.int64)
        starts[warm] = self.seen_indptr[rows[warm]]
        counts[warm] = self.seen_indptr[rows[warm] + 1] - starts[warm]
        indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        return indptr, self.seen_items[np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)]


@dataclass(frozen=True)
class TargetItems:
    """``vectors``: float32 [m, target_dim]; ``biases``: float32 [m]; ``popularity``: int64 [m], training ratings."""

    ids: IdTable
    vectors: Float32Array
    biases: Float32Array
    popularity: npt.NDArray[np.int64]
    titles: TitleTable | None
    index: npt.NDArray[np.uint8] | None = None
    """The bytes of the item index, where the manifest has ``search``; mapped now, as the path may be replaced."""
    attributes: ItemAttributes = NO_ATTRIBUTES


@dataclass(frozen=True)
class Bundle:
    """An open bundle; every table is memory-mapped and read-only."""

    path: Path
    id: str
    manifest: Manifest
    source_users: SourceUsers
    source_items: SourceItems
    target_users: TargetUsers
    target_items: TargetItems
    affine: tuple[Float32Array, Float32Array] | None
    """(matrix [source_dim, target_dim], offset [target_dim]) where the transfer folds."""
    graph: npt.NDArray[np.uint8] | None
    """The bytes of the transfer's ONNX file, where the bundle carries one; mapped now, as the path may be replaced."""
    neighbours: NeighbourTables | None = None
    """What raises scores besides vectors and biases, where the manifest has ``sparse``."""
    console: ConsoleTables = field(default_factory=ConsoleTables)
    """What there is to show of histories and of the model's geometry; nothing is computed with it."""


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Open the bundle at ``path``, memory-mapped.

    While it is replaced, what is returned is the old bundle or the new one, never some of each.

    Args:
        path: the bundle's directory.
        verify: check the SHA-256 of every file first (reads all of it, in parallel).

    Raises:
        BundleError: not a bundle, another schema version, or a file that is missing, extra or altered.
    """
    for _ in range(ATTEMPTS):
        before = _version(path)
        try:
            bundle = _open_once(path, verify=verify)
        except BundleError:
            if _version(path) == before:
                raise
        else:
            if _version(path) == before:
                return bundle
    raise BundleError(f"bundle {path} is replaced faster than it can be opened; stop what publishes it, and try again")


def _version(path: Path) -> tuple[int, int, bytes] | None:
    """What tells one publication at ``path`` from the next; None where there is none.

    Not the bundle's hash alone: two publications of one bundle, another between them, are three directories.
    """
    try:
        directory = path.stat()
        return directory.st_ino, directory.st_ctime_ns, (path / MANIFEST_HASH).read_bytes()
    except OSError:
        return None


def _open_once(path: Path, *, verify: bool) -> Bundle:
    manifest, bundle_id = read_manifest(path)
    try:
        check_files(path, manifest, contents=verify)
        return _open_tables(path, bundle_id, manifest)
    except (OSError, ValueError) as error:
        raise BundleError(f"bundle {path} cannot be opened: {error}; publish it again") from error


def _open_tables(path: Path, bundle_id: str, manifest: Manifest) -> Bundle:
    def array(name: str) -> Any:
        return map_array(path / name)

    def mapped(name: str) -> npt.NDArray[np.uint8]:
        with open_regular(path / name) as file:
            return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))

    def ids(folder: str) -> IdTable:
        return IdTable(array(f"{folder}/ids.npy"))

    def titles(folder: str) -> TitleTable | None:
        if f"{folder}/title_text.npy" not in manifest.files:
            return None
        return TitleTable(array(f"{folder}/title_offsets.npy"), array(f"{folder}/title_text.npy"))

    has_shape = manifest.fold_in is not None and manifest.fold_in.shape is not None
    users = ids("source_users")
    has_history = manifest.fold_in is not None and manifest.fold_in.history is not None
    affine = None
    if manifest.transfer.kind == "affine":
        affine = (array("transfer/matrix.npy"), array("transfer/offset.npy"))
    graph = mapped(ONNX_FILE) if manifest.transfer.has_onnx else None
    return Bundle(
        path=path,
        id=bundle_id,
        manifest=manifest,
        source_users=SourceUsers(users, array("source_users/vectors.npy")),
        source_items=SourceItems(
            ids("source_items"),
            array("source_items/vectors.npy"),
            array("source_items/biases.npy"),
            titles("source_items"),
            idf=array("source_items/idf.npy") if has_history else None,
            basis=array("source_items/basis.npy") if has_history else None,
            level_biases=array("source_items/level_biases.npy") if has_shape else None,
        ),
        target_users=TargetUsers(
            ids("target_users"),
            array("target_users/vectors.npy"),
            array("target_users/seen_indptr.npy"),
            array("target_users/seen_items.npy"),
            array("target_users/seen_liked.npy") if manifest.likes is not None else None,
        ),
        target_items=TargetItems(
            ids("target_items"),
            array("target_items/vectors.npy"),
            array("target_items/biases.npy"),
            array("target_items/popularity.npy"),
            titles("target_items"),
            index=mapped(INDEX_FILE) if manifest.search is not None else None,
            attributes=ItemAttributes.open(manifest.attributes, manifest.files, array),
        ),
        affine=affine,
        graph=graph,
        neighbours=NeighbourTables.open(array) if manifest.sparse is not None else None,
        console=ConsoleTables.open(manifest.files, array, source_users=len(users)),
    )
