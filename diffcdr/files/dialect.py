"""The dialect of a delimited text file: separator, quotation marks, and lines before the header.

What stands inside quotation marks does not count. Of several candidates the one wins that makes the first line a
header of well-known names, then the one that cuts the first lines into equally many fields, then the most frequent.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from diffcdr.errors import InputError
from diffcdr.files.columns import plain

CANDIDATES = (",", "\t", ";", "|", "::", "||", ";;", "\x01", "\x1f", "^", "~")
"""Of equals the first wins; a doubled one wins over the single one where no single one stands alone."""
SPACES = " "
"""The separator that stands for any run of blanks and tabs."""

_NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": SPACES, "whitespace": SPACES, "\\t": "\t"}
_SAMPLE_LINES = 50
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SEP_LINE = re.compile(r'"?sep=(.+?)"?', re.IGNORECASE)
_COMMENT = ("#", "%")


@dataclass(frozen=True)
class Dialect:
    """``separator``: of fields, ``SPACES`` for any white space; ``skip``: lines before the header or the first record;
    ``lone_returns``: whether lines end in CR alone.
    """

    separator: str
    skip: int = 0
    lone_returns: bool = False

    @property
    def one_character(self) -> bool:
        """Whether one character separates fields."""
        return len(self.separator) == 1 and self.separator != SPACES

    @property
    def plain(self) -> bool:
        """Whether a parser for one-byte separators and LF line ends can read the file as it is."""
        return self.one_character and self.separator.isascii() and not self.skip and not self.lone_returns

    def described(self) -> str:
        """For people."""
        names = {"\t": "tabs", SPACES: "white space", "\x01": "control-A"}
        return names.get(self.separator, repr(self.separator))


def parse_separator(text: str, *, option: str) -> str:
    """A separator as the command line gives it: itself, or ``tab``, ``comma``, ``space``, …

    Raises:
        InputError: it is empty, or a letter, digit or quotation mark.
    """
    separator = _NAMES.get(text.lower(), text)
    if not separator or re.search(r'[\w"\n\r]', separator):
        raise InputError(f"{option} {text!r} cannot separate fields; give ',', ';', '|', '::', tab or space")
    return separator


def detect(head: str, *, known: Collection[str], prefer: str | None, given: str | None) -> Dialect:
    """The dialect of a file that begins with ``head``.

    Args:
        head: its first lines; with CR or LF at their ends.
        known: well-known and given column names, plain (:func:`diffcdr.files.columns.plain`).
        prefer: the separator that the file's ending names, taken where it occurs.
        given: the separator that the caller names.
    """
    lone = "\r" in _QUOTED.sub("", head).replace("\r\n", "\n").removesuffix("\r")
    lines = re.split(r"\r\n|\n|\r" if lone else r"\r?\n", head)
    skip = 0
    while skip < len(lines) - 1 and not lines[skip].strip():
        skip += 1
    blank = skip
    declared = _SEP_LINE.fullmatch(lines[skip].strip())
    if declared:
        skip += 1
    while skip < len(lines) - 1 and lines[skip].startswith(_COMMENT) and not _names_columns(lines[skip], known):
        skip += 1
    separator = given or (_NAMES.get(declared[1], declared[1]) if declared else None)
    if separator is None:
        # The last line may be cut short by the look-ahead.
        sample = [line for line in lines[skip : skip + _SAMPLE_LINES + 1] if line.strip()]
        separator = _choose(sample[:-1] if len(sample) > 1 else sample, known=known, prefer=prefer)
    # The parser passes over blank lines by itself.
    return Dialect(separator, 0 if skip == blank else skip, lone)


def fields(line: str, separator: str) -> list[str]:
    """The fields of one ``line``, without their quotation marks."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    hidden = _QUOTED.sub(hide, line.strip("\r\n"))
    cut = hidden.split() if separator == SPACES else hidden.split(separator)
    whole = [re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], field) for field in cut]
    return [
        field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field for field in whole
    ]


def _choose(sample: list[str], *, known: Collection[str], prefer: str | None) -> str:
    bare = [_QUOTED.sub("quoted", line) for line in sample]
    first = bare[0] if bare else ""
    candidates = [each for each in CANDIDATES if each in first]
    if prefer is not None and prefer in first:
        return prefer
    for double in [each for each in candidates if len(each) == 2 and each[0] in candidates]:
        runs = re.compile(re.escape(double[0]) + "+")
        doubled = all(len(run) % 2 == 0 for line in bare for run in runs.findall(line))
        candidates.remove(double[0] if doubled else double)
    if not candidates:
        return SPACES if len(first.split()) > 1 else prefer or ","

    def names(separator: str) -> int:
        return sum(plain(field) in known for field in fields(sample[0], separator))

    def alike(separator: str) -> int:
        counts = [line.count(separator) for line in bare]
        return sum(count == counts[0] for count in counts)

    order = {each: -place for place, each in enumerate(CANDIDATES)}
    return max(candidates, key=lambda each: (names(each), alike(each), len(each), first.count(each), order[each]))


def _names_columns(line: str, known: Collection[str]) -> bool:
    return sum(plain(field) in known for field in re.split(r"[,;|\t ]+", line.lstrip("#% "))) >= 2
