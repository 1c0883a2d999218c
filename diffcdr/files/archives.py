"""Unpacks files: gzip, bz2, xz, zstd, or the one file of a zip archive, recognised by the first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from diffcdr.errors import InputError

PACKED_ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".zip")
UNPACKING_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstandard.ZstdError)
"""What a damaged file makes the libraries raise."""

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


def packing(file: Path) -> str | None:
    """How ``file`` is packed; None if it is not. Raises OSError if it cannot be read."""
    with file.open("rb") as raw:
        start = raw.read(6)
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


@contextmanager
def open_unpacked(file: Path, *, buffer: int = 1 << 20) -> Iterator[BinaryIO]:
    """The unpacked bytes of ``file`` as a buffered stream; so many bytes are unpacked at a time.

    Raises:
        InputError: a zip archive that holds other than one file of data.
        UNPACKING_ERRORS: it cannot be read, here or later.
    """
    kind = packing(file)
    with file.open("rb") as raw:
        match kind:
            case "gzip":
                yield _buffered(gzip.GzipFile(fileobj=raw), buffer)
            case "bz2":
                yield _buffered(bz2.BZ2File(raw), buffer)
            case "xz":
                yield _buffered(lzma.LZMAFile(raw), buffer)  # noqa: SIM115 - closed with raw, which it reads
            case "zstd":
                yield _buffered(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), buffer)
            case "zip":
                with zipfile.ZipFile(raw) as archive, archive.open(_member(archive, file)) as member:
                    yield _buffered(member, buffer)
            case _:
                yield raw


def unpacked_name(file: Path) -> str:
    """The name of the unpacked file: that of the file in a zip archive, else its own without the packing's ending."""
    if packing(file) == "zip":
        with zipfile.ZipFile(file) as archive:
            return _member(archive, file).rpartition("/")[2]
    name = file.name
    for ending in PACKED_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_data_name(name: str) -> bool:
    """Whether a file or folder of this name may hold data: not hidden, no marker (``_SUCCESS``, ``_temporary``)."""
    return not name.startswith(".") and (not name.startswith("_") or "=" in name)


def _member(archive: zipfile.ZipFile, file: Path) -> str:
    names = [
        info.filename
        for info in archive.infolist()
        if not info.is_dir() and all(is_data_name(part) for part in info.filename.split("/"))
    ]
    if "[Content_Types].xml" in archive.namelist():
        raise InputError(f"{file} is an office document; save its sheet as CSV (UTF-8) and give that file")
    if len(names) != 1:
        shown = ", ".join(repr(name) for name in names[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(
            f"{file} holds {len(names)} files{': ' + shown if names else ''}; unpack it and give the one with one "
            "record a row"
        )
    return names[0]


def _buffered(stream: object, size: int) -> BinaryIO:
    # The outer buffer makes reading by the line cheap.
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), size))
