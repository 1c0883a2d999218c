"""Bundles on disk: written whole or not at all, opened memory-mapped, verified by hash, never pickled.

    manifest.json
    transfer.onnx                  DIM + guidance + unrolled solver + ALM, dynamic batch (where there is one)
    transfer/matrix.npy offset.npy the folded map (where the transfer is affine)
    source_users/  ids vectors
    source_items/  ids vectors biases [titles]         for fold-in
    target_users/  ids vectors seen_indptr seen_items  warm vectors, seen items as CSR
    target_items/  ids vectors biases popularity [titles]

The bundle's id is the SHA-256 of ``manifest.json``, which itself holds the hash of every other file.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from diffcdr.errors import BundleError, InputError
from diffcdr.ids import IdTable
from diffcdr.manifest import FileRecord, Manifest
from diffcdr.titles import TitleTable

MANIFEST = "manifest.json"
ONNX_FILE = "transfer.onnx"

Float32Array = npt.NDArray[np.float32]


class BundleWriter:
    """Collects a bundle's files in a temporary directory beside the destination, then publishes them at once.

    Use as a context manager; leaving it without :meth:`publish` removes everything written.

    Raises:
        InputError: the destination cannot be written, or holds something that is not a bundle.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination.absolute()
        if self.destination.exists() and not (self.destination / MANIFEST).is_file():
            if not self.destination.is_dir() or any(self.destination.iterdir()):
                raise InputError(f"{destination} exists and is not a bundle; choose another --bundle directory")
        try:
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            self._staging = Path(
                tempfile.mkdtemp(prefix=f".{self.destination.name}.", suffix=".staging", dir=self.destination.parent)
            )
        except OSError as error:
            raise InputError(
                f"cannot write to {self.destination.parent}: {error.strerror}; choose a writable --bundle directory"
            ) from error
        self._staging.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise InputError(
                f"could not write the bundle to {self.destination}: {error.strerror}; "
                "free some space or choose another --bundle directory (what was there before is untouched)"
            ) from error

    def array(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write ``values`` as ``name`` (a relative path that ends in ``.npy``)."""
        np.save(self._path(name), np.ascontiguousarray(values), allow_pickle=False)

    def ids(self, folder: str, table: IdTable) -> None:
        """Write ``folder/ids.npy``."""
        self.array(f"{folder}/ids.npy", table.array)

    def titles(self, folder: str, titles: Sequence[str]) -> None:
        """Write the titles of ``folder``'s items, one a row, empty where unknown."""
        table = TitleTable.build(titles)
        self.array(f"{folder}/title_offsets.npy", table.offsets)
        self.array(f"{folder}/title_text.npy", table.text)

    def data(self, name: str, content: bytes) -> None:
        """Write ``content`` as ``name``."""
        self._path(name).write_bytes(content)

    def publish(self, manifest: Manifest) -> str:
        """Hash and sync every file, write the manifest, and move the bundle into place in one step.

        A bundle already there is exchanged atomically: a reader finds the old one or the new one, whole.
        Returns the bundle id.
        """
        files = sorted(path for path in self._staging.rglob("*") if path.is_file())
        records = {path.relative_to(self._staging).as_posix(): _record(path) for path in files}
        text = manifest.model_copy(update={"files": records}).model_dump_json(indent=2).encode()
        manifest_path = self._staging / MANIFEST
        manifest_path.write_bytes(text)
        folders = [path for path in self._staging.rglob("*") if path.is_dir()]
        for path in [*files, manifest_path, *folders, self._staging]:
            _sync(path)
        _move_into_place(self._staging, self.destination)
        _sync(self.destination.parent)
        return hashlib.sha256(text).hexdigest()

    def _path(self, name: str) -> Path:
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class SourceUsers:
    """``vectors``: float32 [n, source_dim]."""

    ids: IdTable
    vectors: Float32Array


@dataclass(frozen=True)
class SourceItems:
    """``vectors``: float32 [m, source_dim]; ``biases``: float32 [m]."""

    ids: IdTable
    vectors: Float32Array
    biases: Float32Array
    titles: TitleTable | None


@dataclass(frozen=True)
class TargetUsers:
    """Warm users. ``vectors``: float32 [n, target_dim]; seen items of row i: ``seen_items[indptr[i]:indptr[i+1]]``."""

    ids: IdTable
    vectors: Float32Array
    seen_indptr: npt.NDArray[np.int64]
    seen_items: npt.NDArray[np.int32]

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

    @property
    def onnx_path(self) -> Path | None:
        """The transfer graph, where the bundle carries one."""
        return self.path / ONNX_FILE if self.manifest.transfer.has_onnx else None


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Open the bundle at ``path``, memory-mapped.

    Args:
        path: the bundle's directory.
        verify: check the SHA-256 of every file first (reads all of it, in parallel).

    Raises:
        BundleError: not a bundle, another schema version, or a file that is missing, extra or altered.
    """
    manifest, bundle_id = read_manifest(path)
    _check_files(path, manifest, contents=verify)
    try:
        return _open_tables(path, bundle_id, manifest)
    except (OSError, ValueError) as error:
        raise BundleError(f"bundle {path} cannot be opened: {error}; publish it again") from error


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest of the bundle at ``path`` and the bundle's id. Raises BundleError as :func:`open_bundle`."""
    try:
        text = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} is not a bundle: {MANIFEST} cannot be read ({error.strerror}); "
            "make one with: diffcdr train --bundle DIR"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(
            f"{path / MANIFEST} is damaged or of another version ({where}: {first['msg']}); publish the bundle again"
        ) from error
    return manifest, hashlib.sha256(text).hexdigest()


def _open_tables(path: Path, bundle_id: str, manifest: Manifest) -> Bundle:
    def array(name: str) -> Any:
        # A zero-length table cannot be memory-mapped; it is read instead.
        try:
            return np.load(path / name, mmap_mode="r", allow_pickle=False)
        except ValueError:
            return np.load(path / name, allow_pickle=False)

    def ids(folder: str) -> IdTable:
        return IdTable(array(f"{folder}/ids.npy"))

    def titles(folder: str) -> TitleTable | None:
        if f"{folder}/title_text.npy" not in manifest.files:
            return None
        return TitleTable(array(f"{folder}/title_offsets.npy"), array(f"{folder}/title_text.npy"))

    affine = None
    if manifest.transfer.kind == "affine":
        affine = (array("transfer/matrix.npy"), array("transfer/offset.npy"))
    return Bundle(
        path=path,
        id=bundle_id,
        manifest=manifest,
        source_users=SourceUsers(ids("source_users"), array("source_users/vectors.npy")),
        source_items=SourceItems(
            ids("source_items"),
            array("source_items/vectors.npy"),
            array("source_items/biases.npy"),
            titles("source_items"),
        ),
        target_users=TargetUsers(
            ids("target_users"),
            array("target_users/vectors.npy"),
            array("target_users/seen_indptr.npy"),
            array("target_users/seen_items.npy"),
        ),
        target_items=TargetItems(
            ids("target_items"),
            array("target_items/vectors.npy"),
            array("target_items/biases.npy"),
            array("target_items/popularity.npy"),
            titles("target_items"),
        ),
        affine=affine,
    )


def _check_files(path: Path, manifest: Manifest, *, contents: bool) -> None:
    present = {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file() or found.is_symlink()}
    for name in sorted(present - manifest.files.keys() - {MANIFEST}):
        raise BundleError(f"bundle {path} holds {name}, which its manifest does not list; publish the bundle again")
    for name, record in sorted(manifest.files.items()):
        if name not in present:
            raise BundleError(f"bundle {path} lacks {name}; publish or copy the bundle again")
        if (path / name).stat().st_size != record.bytes:
            raise BundleError(f"bundle file {path / name} has another size than its manifest says; copy it again")
    if not contents:
        return
    names = sorted(manifest.files)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        hashes = pool.map(lambda name: _sha256(path / name), names)
        for name, digest in zip(names, hashes, strict=True):
            if digest != manifest.files[name].sha256:
                raise BundleError(f"bundle file {path / name} is damaged (its SHA-256 differs); copy it again")


def _record(path: Path) -> FileRecord:
    return FileRecord(bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(staging: Path, destination: Path) -> None:
    """Rename, or exchange with what is there and remove that."""
    if not (destination / MANIFEST).exists():
        os.replace(staging, destination)
        return
    if not _exchange(staging, destination):
        # A file system without RENAME_EXCHANGE: two renames, a moment apart.
        aside = staging.with_suffix(".old")
        os.replace(destination, aside)
        os.replace(staging, destination)
        staging = aside
    shutil.rmtree(staging, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories atomically (renameat2, Linux); False where the system cannot."""
    at_fdcwd, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    status = renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange)
    if status == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
