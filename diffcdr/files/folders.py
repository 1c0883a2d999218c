"""The parts of a rating file: the files of a folder, the columns in their folders' names, and their common hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from diffcdr.errors import InputError
from diffcdr.files.archives import is_data_name

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """A file, and the columns that the names of its folders give: ``year=2020/part-0.parquet`` -> ``{"year": "2020"}``.

    A value is None where the name says that there is none.
    """

    file: Path
    partition: dict[str, str | None] = field(default_factory=dict)


def parts(path: Path) -> list[Part]:
    """The files at ``path``: the file itself, or the non-empty files of the folder, in order.

    Files and folders whose names begin with a dot or an underscore are no data: writers leave ``_SUCCESS``,
    ``_temporary`` and ``.crc`` beside their parts, notebooks their old copies.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if not path.is_dir():
        return [Part(path)]
    found = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file.relative_to(path)))
    if not found:
        raise InputError(f"{path} is a folder without files; give a rating file or a folder of its parts")
    whole = [file for file in found if file.stat().st_size]
    if not whole:
        raise InputError(f"{path} holds only empty files; export it again")
    return [Part(file, _partition(file.relative_to(path))) for file in whole]


def joined_sha256(path: Path, files: Sequence[Path], digests: Iterable[str]) -> str:
    """The hash of the rating file at ``path`` from those of its ``files``: for a folder, of their names and hashes."""
    if path.is_file():
        return next(iter(digests))
    listing = "".join(
        f"{digest}  {file.relative_to(path).as_posix()}\n" for file, digest in zip(files, digests, strict=True)
    )
    return hashlib.sha256(listing.encode()).hexdigest()


def _is_data(inside: Path) -> bool:
    return all(is_data_name(name) for name in inside.parts)


def _partition(inside: Path) -> dict[str, str | None]:
    pairs = (name.partition("=") for name in inside.parts[:-1])
    values = {key: unquote(value) for key, equals, value in pairs if key and equals}
    return {key: None if value == HIVE_NULL else value for key, value in values.items()}
