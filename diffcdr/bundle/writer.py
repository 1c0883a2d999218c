"""Writes a bundle atomically: whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from diffcdr.atomic import remove_abandoned, sync
from diffcdr.bundle.format import MANIFEST, MANIFEST_HASH, hash_line, record
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import Manifest
from diffcdr.bundle.titles import TitleTable
from diffcdr.errors import InputError

STAGING_SUFFIX = ".staging"


class BundleWriter:
    """Collects a bundle's files in a temporary directory beside the destination, then publishes them at once.

    Use as a context manager; leaving it without :meth:`publish` removes everything written. A process that is killed
    leaves its temporary directory, hidden beside the destination; the next writer to the same place removes it.

    Raises:
        InputError: the destination cannot be written, is full, or holds something that is not a bundle. Also raised
            by every method that writes; what was at the destination before is untouched.
    """

    def __init__(self, destination: Path) -> None:
        # Through a symbolic link, what it points to is replaced, and the link stays.
        self.destination = destination.resolve()
        if _is_something_else(self.destination):
            raise InputError(f"{destination} exists and is not a bundle; choose another --bundle directory")
        if self.destination.is_mount():
            raise InputError(
                f"{destination} is a mount point, which cannot be replaced in one step; publish to a directory in it, "
                f"such as --bundle {destination / 'current'}"
            )
        with self._writing():
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.destination, suffix=STAGING_SUFFIX)
            self._staging = Path(
                tempfile.mkdtemp(
                    prefix=f".{self.destination.name}.", suffix=STAGING_SUFFIX, dir=self.destination.parent
                )
            )
            self._staging.chmod(0o755)
            self._lock = os.open(self._staging, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        os.close(self._lock)

    def array(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write ``values`` as ``name`` (a relative path that ends in ``.npy``)."""
        values = np.ascontiguousarray(values)
        with self._writing(), self._path(name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
            # Not np.save: it hides why a write failed, such as a full disk.
            file.write(values.tobytes() if values.size == 0 else values.reshape(-1).view(np.uint8).data)

    def ids(self, folder: str, table: IdTable) -> None:
        """Write ``folder/ids.npy``."""
        self.array(f"{folder}/ids.npy", table.array)

    def titles(self, folder: str, titles: Sequence[str]) -> None:
        """Write the titles of ``folder``'s items, one a row, empty where unknown."""
        table = TitleTable.build(titles)
        self.array(f"{folder}/title_offsets.npy", table.offsets)
        self.array(f"{folder}/title_text.npy", table.text)

    def data(self, name: str, content: bytes | memoryview) -> None:
        """Write ``content`` as ``name``."""
        with self._writing():
            self._path(name).write_bytes(content)

    def copy(self, name: str, file: Path) -> None:
        """Write the content of ``file`` as ``name``."""
        with self._writing():
            shutil.copyfile(file, self._path(name))

    def publish(self, manifest: Manifest) -> str:
        """Hash and sync every file, write the manifest, and move the bundle into place in one step.

        A bundle already there is exchanged atomically: a reader finds the old one or the new one, whole.
        Returns the bundle id.
        """
        with self._writing():
            files = sorted(path for path in self._staging.rglob("*") if path.is_file())
            records = {path.relative_to(self._staging).as_posix(): record(path) for path in files}
            text = manifest.model_copy(update={"files": records}).model_dump_json(indent=2).encode()
            bundle_id = hashlib.sha256(text).hexdigest()
            (self._staging / MANIFEST).write_bytes(text)
            (self._staging / MANIFEST_HASH).write_bytes(hash_line(bundle_id))
            for path in [*self._staging.rglob("*"), self._staging]:
                sync(path)
            _move_into_place(self._staging, self.destination)
            sync(self.destination.parent)
        return bundle_id

    def _path(self, name: str) -> Path:
        path = self._staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            remedy = "free some space or choose another" if full else "choose a writable"
            reason = error.strerror or str(error)
            raise InputError(
                f"cannot write the bundle to {self.destination}: {reason}; {remedy} --bundle directory "
                "(what was there before is untouched)"
            ) from error


def _is_something_else(destination: Path) -> bool:
    try:
        # The hash beside the manifest is ours alone; many a project has a manifest.json.
        if not destination.exists() or (destination / MANIFEST_HASH).is_file():
            return False
        return not destination.is_dir() or any(destination.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot look at {destination}: {error.strerror}; choose a readable --bundle directory"
        ) from error


def _move_into_place(staging: Path, destination: Path) -> None:
    """Rename, or exchange with what is there and remove that."""
    if not (destination / MANIFEST_HASH).exists():
        os.replace(staging, destination)
        return
    if not _exchange(staging, destination):
        # A file system without RENAME_EXCHANGE: two renames, a moment apart.
        aside = staging.with_suffix(f".old{STAGING_SUFFIX}")
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
