"""Any file of records -> a table with a column for every role. Detection is deterministic; options override it.

first bytes -> packing -> encoding -> kind (by the ending, else by what is there) -> dialect or JSON shape -> columns
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from diffcdr.errors import InputError
from diffcdr.files.archives import UNPACKING_ERRORS, open_unpacked, packing, unpacked_name
from diffcdr.files.columns import Columns, Roles
from diffcdr.files.delimited import columns_of, scan_pieces, scan_plain
from diffcdr.files.dialect import Dialect, detect
from diffcdr.files.encodings import UTF8, encoding_of, open_text
from diffcdr.files.folders import Part
from diffcdr.files.json_lines import field_of, scan_json
from diffcdr.files.json_records import look

PARQUET = (".parquet", ".pq")
DELIMITED = (".csv", ".tsv", ".txt", ".dat", ".inter", ".data", ".tab", ".psv")
JSON_LINES = (".json", ".jsonl", ".ndjson")
OTHER_KINDS = (
    *(".xlsx", ".xls", ".ods", ".docx", ".pdf", ".html", ".h5", ".hdf5", ".pkl", ".pickle", ".feather", ".arrow"),
    *(".avro", ".orc", ".mat", ".npy", ".npz", ".db", ".sqlite", ".sav", ".dta", ".rds", ".tar", ".tgz", ".7z", ".rar"),
)

HEAD_BYTES = 1 << 16

Kind = Literal["parquet", "json", "text"]
T = TypeVar("T")

_SEPARATOR_OF = {".tsv": "\t", ".inter": "\t", ".tab": "\t", ".psv": "|"}
_CONTROL_ALLOWED = "\t\n\f\r\x01\x1e\x1f"


@dataclass(frozen=True)
class Reading:
    """What the caller says about a file, in place of detection.

    ``option``: the command-line option that names its columns, for messages; ``separator_option``: that of the
    separator. ``encoding``: of text that has no byte-order mark and is not UTF-8.
    """

    columns: Columns = field(default_factory=Columns)
    encoding: str | None = None
    separator: str | None = None
    option: str = "--source-columns"


@dataclass(frozen=True)
class Table:
    """A file, not yet read. ``names``: its column of each role; ``how``: what was recognised, for people."""

    lazy: pl.LazyFrame
    names: Mapping[str, str]
    how: Mapping[str, str]


def read_table(part: Part, roles: Roles, reading: Reading, select: Callable[[Table], T]) -> T:
    """``select`` on the table of ``part``; whatever a damaged file makes the libraries raise becomes one clear error.

    Raises:
        InputError: it cannot be read, is empty or binary, or its columns are not found.
    """
    file = part.file
    try:
        if not file.stat().st_size:
            raise InputError(f"{file} is empty; give a file with one record a row")
        try:
            return select(open_table(part, roles, reading, quote='"'))
        except pl.exceptions.ComputeError:
            if kind_of(file) != "text":
                raise
            # A lone quotation mark, in a title say, is a character like any other.
            return select(open_table(part, roles, reading, quote=None))
    except UnicodeDecodeError as error:
        bad = bytes(error.object[error.start : error.start + 4]).hex(" ")
        raise InputError(
            f"{file} is not {error.encoding}: the bytes {bad} are invalid in it; name the right encoding with "
            "--encoding"
        ) from error
    except (*UNPACKING_ERRORS, PolarsError, PanicException, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"{file} cannot be read ({reason}); it may be damaged, cut short, or not of the type that its name says: "
            "copy or export it again"
        ) from error


def open_table(part: Part, roles: Roles, reading: Reading, *, quote: str | None) -> Table:
    """The table of ``part``; raises as :func:`read_table`, and what the libraries raise."""
    file = part.file
    kind = kind_of(file)
    if kind == "parquet":
        table = _parquet(file, roles, part.partition)
    else:
        start = _start(file)
        encoding = encoding_of(file, start, given=reading.encoding)
        head = _decoded(start, encoding)
        _check_text(file, head)
        if kind == "json":
            table = _json(file, roles, encoding, part.partition)
        else:
            table = _delimited(file, roles, reading, head=head, encoding=encoding, quote=quote, part=part)
        table = Table(table.lazy, table.names, {"encoding": _encoding_name(encoding), **table.how})
    for role, name in table.names.items():
        dtype = table.lazy.collect_schema()[name]
        if dtype.is_nested():
            raise _nested(file, roles, role, name)
    packed = packing(file)
    columns = ", ".join(f"{role} {name!r}" for role, name in table.names.items())
    return Table(table.lazy, table.names, {**({"packed": packed} if packed else {}), **table.how, "columns": columns})


def kind_of(file: Path) -> Kind:
    """What ``file`` is, by the ending of what is in it, else by its first bytes.

    Raises:
        InputError: it is of a kind that cannot be read.
        UNPACKING_ERRORS: it cannot be read.
    """
    if file.suffix.lower() in OTHER_KINDS and file.suffix.lower() != ".tgz":
        if file.suffix.lower() in (".xlsx", ".ods", ".docx") and packing(file) == "zip":
            raise InputError(f"{file} is an office document; save its sheet as CSV (UTF-8) and give that file")
        raise _not_known(file)
    ending = Path(unpacked_name(file)).suffix.lower()
    if ending in PARQUET:
        return "parquet"
    if ending in JSON_LINES:
        return "json"
    if ending in OTHER_KINDS:
        raise _not_known(file)
    with open_unpacked(file, buffer=4096) as stream:
        start = stream.read(4096)
    if ending not in DELIMITED and start.startswith(b"PAR1"):
        return "parquet"
    text = start.decode("utf-8", "ignore").lstrip("\ufeff \r\n\t")
    return "json" if text.startswith(("{", "[{")) and '"' in text else "text"


def _not_known(file: Path) -> InputError:
    known = " ".join(PARQUET + DELIMITED + JSON_LINES)
    return InputError(
        f"{file} has an unknown file extension; known are {known}, compressed or not (.gz .bz2 .xz .zst .zip)"
    )


def _start(file: Path) -> bytes:
    with open_unpacked(file, buffer=HEAD_BYTES) as stream:
        start = stream.read(HEAD_BYTES)
    if not start.strip():
        raise InputError(f"{file} is empty; give a file with one rating a row")
    return start


def _decoded(start: bytes, encoding: str) -> str:
    if encoding in (UTF8, "utf-8-sig"):
        return start.decode("utf-8-sig", "replace")
    return codecs.getincrementaldecoder(encoding)().decode(start)


def _check_text(file: Path, head: str) -> None:
    sample = head[:1024]
    if sum(letter < " " and letter not in _CONTROL_ALLOWED for letter in sample) > 0.05 * len(sample):
        raise InputError(f"{file} is not text; give CSV, TSV or JSON lines (or name a Parquet file .parquet)")


def _parquet(file: Path, roles: Roles, partition: Mapping[str, str | None]) -> Table:
    if packing(file):
        with open_unpacked(file) as stream:
            lazy = pl.read_parquet(io.BytesIO(stream.read())).lazy()
    else:
        lazy = pl.scan_parquet(file, glob=False)
    lazy = _with_partition(lazy, lazy.collect_schema().names(), partition)
    found = lazy.collect_schema().names()
    names = roles.resolve(found, str(file))
    inner = [name for name in names.values() if name not in found]
    try:
        lazy = lazy.with_columns(field_of(name).alias(name) for name in inner)
        lazy.collect_schema()
    except PolarsError as error:
        raise InputError(f"{file} has no field {' or '.join(map(repr, inner))}; check {roles.option}") from error
    return Table(lazy, names, {"kind": "Parquet"})


def _json(file: Path, roles: Roles, encoding: str, partition: Mapping[str, str | None]) -> Table:
    with open_unpacked(file, buffer=HEAD_BYTES) as stream, open_text(stream, encoding) as text:
        shape, sample = look(text, least=HEAD_BYTES)
    keys = list(dict.fromkeys(key for record in sample for key in record))
    if not keys:
        raise InputError(
            f"{file} holds no JSON object in its first lines; give one JSON object a line (row 1 is not one)"
        )
    names = roles.resolve([*keys, *(key for key in partition if key not in keys)], str(file))
    for role, name in names.items():
        if any(isinstance(record.get(name), dict | list) for record in sample):
            raise _nested(file, roles, role, name)
    wanted = [name for name in dict.fromkeys(names.values()) if name in keys or name.partition(".")[0] in keys]
    lazy = scan_json(file, wanted, shape=shape, encoding=encoding)
    return Table(_with_partition(lazy, wanted, partition), names, {"kind": f"JSON, {shape}"})


def _delimited(
    file: Path, roles: Roles, reading: Reading, *, head: str, encoding: str, quote: str | None, part: Part
) -> Table:
    prefer = _SEPARATOR_OF.get(Path(unpacked_name(file)).suffix.lower())
    dialect = detect(head, known=roles.known(), prefer=prefer, given=reading.separator)
    found, headed = columns_of(head, dialect, roles)
    if roles.lines and not headed:
        # No text has this character, so lines stay whole.
        dialect = Dialect("\x1f", dialect.skip, dialect.lone_returns)
    if not dialect.one_character and not head.lstrip().startswith('"'):
        quote = None
    names = roles.named([*found, *(key for key in part.partition if key not in found)], str(file), headed=headed)
    wanted = found if roles.all else [name for name in dict.fromkeys(names.values()) if name in found]
    if (
        dialect.plain
        and encoding == UTF8
        and packing(file) in (None, "gzip")
        and not _escapes(file, head, roles, quote)
    ):
        lazy = scan_plain(file, found, dialect=dialect, header=headed, quote=quote)
    else:
        lazy = scan_pieces(file, found, wanted=wanted, dialect=dialect, header=headed, quote=quote, encoding=encoding)
    how = {"kind": f"text, fields separated by {dialect.described()}{'' if headed else ', no header'}"}
    return Table(_with_partition(lazy, found, part.partition), names, how)


def _escapes(file: Path, head: str, roles: Roles, quote: str | None) -> bool:
    """Whether quotation marks have backslashes before them; looked for in all of a file of titles, else in its head."""
    if quote is None:
        return False
    if "title" not in roles.needed:
        return '\\"' in head
    with open_unpacked(file) as stream:
        last = b""
        while block := stream.read(1 << 22):
            if b'\\"' in last + block:
                return True
            last = block[-1:]
    return False


def _with_partition(lazy: pl.LazyFrame, found: Sequence[str], partition: Mapping[str, str | None]) -> pl.LazyFrame:
    new = [pl.lit(value, dtype=pl.String).alias(name) for name, value in partition.items() if name not in found]
    return lazy.with_columns(new) if new else lazy


def _nested(file: Path, roles: Roles, role: str, name: str) -> InputError:
    option = f"{roles.option} " if roles.option else ""
    return InputError(
        f"{file}: {name!r}, the {role}, holds records or lists; name a field in it: {option}{role}={name}.id"
    )


def _encoding_name(encoding: str) -> str:
    return {UTF8: "UTF-8", "utf-8-sig": "UTF-8 with a byte-order mark"}.get(encoding, encoding.upper())
