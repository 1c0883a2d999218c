"""A folder that executors share, on a file system or in an object store: ``/data/out``, ``file:``, ``s3:``, ``gs:``, …

URLs are those of Arrow (``s3://bucket/path``); credentials come from where Arrow looks for them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from diffcdr.atomic import replacing_file
from diffcdr.errors import InputError


@dataclass(frozen=True)
class Storage:
    """The folder at ``url``, a path or a URL; cheap to send to executors."""

    url: str

    @classmethod
    def at(cls, url: str) -> Storage:
        """The folder at ``url``; a path without scheme is made absolute, so that it means the same elsewhere."""
        if url.startswith("file://"):
            url = url.removeprefix("file://")
        return cls(url if "://" in url else str(Path(url).absolute()))

    @property
    def local(self) -> Path | None:
        """The path, where it is one of a mounted file system."""
        return None if "://" in self.url else Path(self.url)

    def names(self) -> list[str]:
        """Names of the files right in the folder, sorted; none where it is not there.

        Raises:
            InputError: it cannot be read, or is a file.
        """
        try:
            system, path = self._system()
            found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise self._failed("read", error) from error
        return sorted(each.base_name for each in found if each.type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises InputError where it cannot be read."""
        try:
            system, path = self._system()
            with system.open_input_stream(f"{path}/{name}", compression=None) as stream:
                return bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            raise self._failed("read", error) from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is there whole or not at all. Raises InputError where it cannot be written."""
        try:
            if self.local is None:
                system, path = self._system()
                # An object appears when its stream is closed.
                with system.open_output_stream(f"{path}/{name}", compression=None) as stream:
                    stream.write(data)
            else:
                _write_local(self.local / name, data)
        except (OSError, pa.ArrowException) as error:
            raise self._failed("write", error) from error

    def remove(self, names: list[str]) -> None:
        """Remove files. Raises InputError where one cannot be."""
        try:
            system, path = self._system()
            for name in names:
                system.delete_file(f"{path}/{name}")
        except (OSError, pa.ArrowException) as error:
            raise self._failed("write", error) from error

    def open(self, name: str) -> pa.NativeFile:
        """A file to read parts of. Raises InputError where it cannot be opened."""
        try:
            system, path = self._system()
            return system.open_input_file(f"{path}/{name}")
        except (OSError, pa.ArrowException) as error:
            raise self._failed("read", error) from error

    def fetch(self, copy: Path) -> Path:
        """Copy the whole folder to the directory ``copy`` of this machine, unless somebody has; returns ``copy``.

        Raises:
            InputError: it cannot be read, or ``copy`` cannot be written.
        """
        if copy.is_dir():
            return copy
        try:
            system, path = self._system()
            with tempfile.TemporaryDirectory(prefix=f".{copy.name}.", dir=copy.parent) as folder:
                staging = Path(folder) / "new"
                staging.mkdir()
                fs.copy_files(path, str(staging), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())
                try:
                    staging.rename(copy)
                except OSError:
                    if not copy.is_dir():  # else another process was first
                        raise
        except (OSError, pa.ArrowException) as error:
            raise self._failed("read", error) from error
        return copy

    def _system(self) -> tuple[fs.FileSystem, str]:
        if self.local is not None:
            return fs.LocalFileSystem(), self.url
        system, path = fs.FileSystem.from_uri(self.url)
        return system, path

    def _failed(self, what: str, error: Exception) -> InputError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return InputError(f"cannot {what} {self.url} ({reason}); check the path, its permissions and its machine")


def _write_local(path: Path, data: bytes) -> None:
    with replacing_file(path) as staging:
        staging.write_bytes(data)
