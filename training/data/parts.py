"""The files a rating file is made of, and the hash that stands for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffcdr.errors import InputError


def parts(path: Path) -> list[Path]:
    """The files at ``path``: itself, or those in the folder, in order.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if not path.is_dir():
        return [path]
    # Writers such as Spark leave _SUCCESS and .crc files beside the parts.
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    if not files:
        raise InputError(f"{path} is a folder without files; give a rating file or a folder of its parts")
    return files


def joined_sha256(path: Path, files: Sequence[Path], digests: Iterable[str]) -> str:
    """The hash of the rating file at ``path`` from those of its ``files``: for a folder, of their names and hashes."""
    if path.is_file():
        return next(iter(digests))
    listing = "".join(
        f"{digest}  {file.relative_to(path).as_posix()}\n" for file, digest in zip(files, digests, strict=True)
    )
    return hashlib.sha256(listing.encode()).hexdigest()
