"""The encoding of a text file: by its byte-order mark, else UTF-8, else as the caller says."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from diffcdr.errors import InputError
from diffcdr.files.archives import open_unpacked

UTF8 = "utf-8"

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 22


def known_encoding(name: str, *, option: str) -> str:
    """The codec called ``name``. Raises InputError where there is none, naming the ``option``."""
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"{option} {name!r} is not a known encoding; give one such as utf-8, latin-1, windows-1252, utf-16, "
            "shift_jis or gb18030"
        ) from error
    return codecs.lookup(name).name


def encoding_of(file: Path, start: bytes, *, given: str | None) -> str:
    """The encoding of ``file``, which begins with the bytes ``start``.

    A byte-order mark says it; else it is UTF-8 (in which bytes that are not count as U+FFFD), unless the caller gave
    another and the file is not all UTF-8.

    Raises:
        InputError: it looks like UTF-16 or UTF-32 without a mark, and no encoding is given.
        UNPACKING_ERRORS: the file cannot be read.
    """
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    wide = _wide(start)
    if given is not None and (wide or (given != UTF8 and bad_utf8(file) is not None)):
        return given
    if wide:
        raise InputError(f"{file} looks like {wide} without a byte-order mark; read it with --encoding {wide}")
    return UTF8


def open_text(stream: BinaryIO, encoding: str) -> io.TextIOWrapper:
    """``stream`` as text with ``\\n`` at the ends of lines, whichever it has. UTF-8 is never an error."""
    errors = "replace" if encoding in (UTF8, "utf-8-sig") else "strict"
    return io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline=None)


def bad_utf8(file: Path) -> tuple[int, str] | None:
    """The first line (from 1) of ``file`` that is not UTF-8, and how it looks as Windows-1252; None where all is."""
    decoder = codecs.getincrementaldecoder(UTF8)()
    lines, tail = 1, b""
    with open_unpacked(file) as stream:
        while True:
            block = stream.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                whole = tail + block
                at = len(tail) + error.start if error.object is block or not tail else error.start
                at = max(0, min(at, len(whole) - 1))
                first = whole.rfind(b"\n", 0, at) + 1
                last = whole.find(b"\n", at)
                line = whole[first : last if last >= 0 else None][:400]
                return lines + whole.count(b"\n", len(tail), at), line.decode("windows-1252", "replace").strip()
            if not block:
                return None
            lines += block.count(b"\n")
            tail = block[-400:]


def likely_encoding(text: str) -> str:
    """What bytes that are not UTF-8 probably are, from a line of them decoded as Windows-1252."""
    return "windows-1252" if any(ord(letter) > 0xFF or letter == "\ufffd" for letter in text) else "latin-1"


def not_utf8(file: Path, found: tuple[int, str], *, what: str) -> InputError:
    """The error for a ``file`` whose text matters and is not UTF-8; ``found``: as :func:`bad_utf8` gives."""
    line, text = found
    name = likely_encoding(text)
    return InputError(
        f"{file} is not UTF-8, and its {what} would be damaged; line {line} reads {shorten(text)!r} as {name}: "
        f"if that is right give --encoding {name}, else the encoding it has (such as gb18030 or shift_jis)"
    )


def shorten(text: str, length: int = 60) -> str:
    """At most ``length`` characters of ``text``, around the first that is not ASCII."""
    if len(text) <= length:
        return text
    at = next((place for place, letter in enumerate(text) if ord(letter) > 127), 0)
    start = max(0, min(at - length // 2, len(text) - length))
    return ("…" if start else "") + text[start : start + length] + ("…" if start + length < len(text) else "")


def _wide(start: bytes) -> str | None:
    """UTF-16 or UTF-32 by where the zero bytes of ``start`` are: text of Latin letters has one in every unit."""
    sample = start[: len(start) // 4 * 4][:4096]
    if len(sample) < 8:
        return None
    share: Callable[[int], float] = lambda offset: sample[offset::4].count(0) / (len(sample) // 4)  # noqa: E731
    zeros = [share(offset) > 0.4 for offset in range(4)]
    shapes = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return shapes.get((zeros[0], zeros[1], zeros[2], zeros[3]))
