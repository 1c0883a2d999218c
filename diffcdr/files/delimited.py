"""Delimited text -> columns of text. Plain files go straight to the parser; others are normalised chunk by chunk."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import polars as pl

from diffcdr.files.archives import open_unpacked
from diffcdr.files.columns import Roles, looks_like_header, plain
from diffcdr.files.dialect import SPACES, Dialect, fields
from diffcdr.files.encodings import open_text

_PIECE = 1 << 23
"""Characters that are made plain and parsed at a time."""
_FIELD = "\x1f"
"""What separators of several characters become: no text has a unit separator."""


def columns_of(head: str, dialect: Dialect, roles: Roles) -> tuple[list[str], bool]:
    """The names of a file's columns, and whether a header gives them; ``head``: its first lines."""
    lines = [
        line for line in re.split(r"\r\n|\n|\r" if dialect.lone_returns else r"\r?\n", head)[dialect.skip :] if line
    ]
    # A header may be marked as a comment.
    first = fields(lines[0].lstrip("#% ") if lines[0][:1] in "#%" else lines[0], dialect.separator) if lines else []
    numbered = [f"column_{number}" for number in range(1, len(first) + 1)]
    by_number = any(re.fullmatch(r"column_\d+", name) for name in roles.given.values())
    known = any(plain(name) in roles.known() for name in first)
    if roles.lines and not known:
        return ["column_1"], False
    if roles.single:
        headed = len(first) > 1 or known
    else:
        headed = not by_number and (looks_like_header(first, given=roles.given) or not _may_be_data(first, roles))
    return (_distinct(first) if headed else numbered), headed


def scan_plain(file: Path, names: Sequence[str], *, dialect: Dialect, header: bool, quote: str | None) -> pl.LazyFrame:
    """The columns ``names`` of a ``file`` that is plain (:attr:`Dialect.plain`) UTF-8, packed by gzip or not at all."""
    lazy = pl.scan_csv(
        file,
        has_header=header,
        separator=dialect.separator,
        quote_char=quote,
        infer_schema=False,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
        # The parser may see fewer or more columns than the head: a cell too many is cut, one too few is null.
        with_column_names=lambda found: [
            *names[: len(found)],
            *(f"\0{place}" for place in range(len(names), len(found))),
        ],
        glob=False,
    )
    return lazy if quote else lazy.with_columns(pl.all().str.replace('^"(.*)"$', "$1"))


def scan_pieces(
    file: Path,
    names: Sequence[str],
    *,
    wanted: Collection[str],
    dialect: Dialect,
    header: bool,
    quote: str | None,
    encoding: str,
) -> pl.LazyFrame:
    """The ``wanted`` of the columns ``names`` of any text file, read now; memory is bounded by them.

    Raises:
        UnicodeDecodeError: it is not of that ``encoding``.
        UNPACKING_ERRORS, PolarsError: it cannot be read.
    """
    schema = dict.fromkeys(names, pl.String)
    # The parser counts columns by the first row, and a short one would lose those of all others.
    whole_row = _separator(dialect) * (len(names) - 1) + "\n" if len(names) > 1 else "_\n"
    quoted = quote is not None
    frames = [pl.DataFrame(schema=schema).select(wanted)]
    with open_unpacked(file) as stream, open_text(stream, encoding) as text:
        for piece in _pieces(text, skip=dialect.skip, header=header, quoted=quoted):
            frame = pl.read_csv(
                io.BytesIO((whole_row + _plain_piece(piece, dialect, quoted=quoted)).encode("utf-8", "replace")),
                has_header=False,
                schema=schema,
                separator=_separator(dialect),
                quote_char=quote,
                truncate_ragged_lines=True,
            )
            frame = frame.slice(1).select(wanted)
            frames.append(frame if quote else frame.with_columns(pl.all().str.replace('^"(.*)"$', "$1")))
    return pl.concat(frames).lazy()


def _pieces(text: io.TextIOWrapper, *, skip: int, header: bool, quoted: bool) -> Iterator[str]:
    """Whole records at a time, from the first on."""
    for _ in range(skip):
        text.readline()
    line = ""
    if header:
        while not (line := text.readline()).strip() and line:
            pass
        while quoted and line.count('"') % 2 and (more := text.readline()):
            line += more
    rest = ""
    while block := text.read(_PIECE):
        rest += block
        cut = _end_of_records(rest, quoted=quoted)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest.strip():
        yield rest


def _end_of_records(text: str, *, quoted: bool) -> int:
    """Where the last whole record of ``text`` ends: after a line's end outside quotation marks; 0 for none."""
    cut = text.rfind("\n") + 1
    while quoted and cut and text.count('"', 0, cut) % 2:
        cut = text.rfind("\n", 0, cut - 1) + 1
    return cut


def _separator(dialect: Dialect) -> str:
    return dialect.separator if dialect.one_character and dialect.separator.isascii() else _FIELD


def _plain_piece(piece: str, dialect: Dialect, *, quoted: bool) -> str:
    if quoted:
        # Some writers put a backslash before a quotation mark inside quotation marks, where others double it: then two
        # follow a backslash of the text itself, and the field goes on.
        end = rf"{re.escape(dialect.separator)}|\n|$"
        piece = re.sub(rf'\\"(?!{end}|"(?!{end}))', '""', piece) if '\\"' in piece else piece
    if dialect.separator == SPACES:
        return re.sub(r"[^\S\n]+", _FIELD, re.sub(r"^[^\S\n]+|[^\S\n]+$", "", piece, flags=re.MULTILINE))
    return piece if _separator(dialect) == dialect.separator else piece.replace(dialect.separator, _FIELD)


def _may_be_data(first: Sequence[str], roles: Roles) -> bool:
    """Whether a first row without a well-known name is a record: of ratings its third field is a number."""
    if "rating" not in roles.needed:
        return True
    try:
        float(first[2].strip().replace(",", "."))
    except (ValueError, IndexError):
        return False
    return True


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        result.append(f"{name}_duplicated_{count - 1}" if count else name)
    return result
