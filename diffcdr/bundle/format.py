"""The files of a bundle: their names, their hashes, and the check that they are as published.

    manifest.json                  everything about the bundle, with the SHA-256 of every file below
    manifest.sha256                the SHA-256 of manifest.json, as ``sha256sum --check`` reads it
    transfer.onnx                  DIM + guidance + unrolled solver + ALM, dynamic batch (where there is one)
    transfer/matrix.npy offset.npy the folded map (where the transfer is affine)
    source_users/  ids vectors
    source_items/  ids vectors biases [titles]         for fold-in [idf basis: history features] [level_biases]
    target_users/  ids vectors seen_indptr seen_items  warm vectors, seen items as CSR [seen_liked]
    target_items/  ids vectors biases popularity [titles] [index.faiss: many items, see ``search/approximate.py``]
    target_items/attributes/N/     typed columns that lists are filtered by, see ``attributes.py``; optional
    source_history/ map/                               optional, see ``display_tables.py``

The bundle's id is the SHA-256 of ``manifest.json``. So one hash vouches for every byte, its own copy included.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

from pydantic import ValidationError

from diffcdr.bundle.manifest import FileRecord, Manifest
from diffcdr.errors import BundleError

MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.sha256"
ONNX_FILE = "transfer.onnx"
INDEX_FILE = "target_items/index.faiss"
MAX_MANIFEST_BYTES = 64 << 20
"""Longest manifest that is read."""


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest of the bundle at ``path`` and the bundle's id.

    Raises:
        BundleError: there is no bundle, its manifest is not the one that was published, or of another version.
    """
    text = _read(path / MANIFEST)
    bundle_id = hashlib.sha256(text).hexdigest()
    if _read(path / MANIFEST_HASH) != hash_line(bundle_id):
        raise BundleError(
            f"{path / MANIFEST} is damaged (its SHA-256 is not the one in {MANIFEST_HASH}); "
            "publish or copy the bundle again"
        )
    try:
        return Manifest.model_validate_json(text), bundle_id
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(
            f"{path / MANIFEST} was written by another version ({where}: {first['msg']}); publish the bundle again"
        ) from error


def check_files(path: Path, manifest: Manifest, *, contents: bool) -> None:
    """Check that the bundle at ``path`` holds the files of ``manifest``, no more and no fewer, at their sizes.

    Args:
        path: the bundle's directory.
        manifest: what was published there.
        contents: compare every file's SHA-256 too (reads all of it, in parallel).

    Raises:
        BundleError: they differ; the message names the file.
    """
    present = {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file() or found.is_symlink()}
    for name in sorted(present - manifest.files.keys() - {MANIFEST, MANIFEST_HASH}):
        raise BundleError(f"bundle {path} holds {name}, which its manifest does not list; publish the bundle again")
    names = sorted(manifest.files)
    for name in names:
        if name not in present:
            raise BundleError(f"bundle {path} lacks {name}; publish or copy the bundle again")
        if (path / name).stat().st_size != manifest.files[name].bytes:
            raise BundleError(
                f"bundle file {path / name} does not have the size that its manifest gives; copy it again"
            )
    if not contents:
        return
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        hashes = pool.map(lambda name: _sha256(path / name), names)
        for name, digest in zip(names, hashes, strict=True):
            if digest != manifest.files[name].sha256:
                raise BundleError(f"bundle file {path / name} is damaged (its SHA-256 differs); copy it again")


def record(path: Path) -> FileRecord:
    """Size and hash of the file at ``path``."""
    return FileRecord(bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    # As file_sha256, but of nothing that might be a pipe.
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_line(bundle_id: str) -> bytes:
    """The content of ``manifest.sha256``."""
    return f"{bundle_id}  {MANIFEST}\n".encode()


def open_regular(path: Path) -> BufferedReader:
    """``path`` to read. A pipe or a device, whose opening or reading might never end, raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "it is not a regular file")
    return os.fdopen(file, "rb")


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise OSError(0, f"it has more than {MAX_MANIFEST_BYTES:,} bytes")
        return text
    except OSError as error:
        raise BundleError(
            f"{path.parent} is not a bundle: {path.name} cannot be read ({error.strerror}); "
            "make one with: diffcdr train --bundle DIR"
        ) from error
