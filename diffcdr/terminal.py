"""Output to terminals and files that cannot encode every character: those are spelled in ASCII."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

ERRORS = "diffcdr.spelled"
SPELLINGS = {
    "±": "+/-", "→": "->", "←": "<-", "–": "-", "—": "-", "−": "-", "…": "...", "·": "-", "×": "x", "≥": ">=",
    "≤": "<=", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "✓": "ok", "β": "beta", "λ": "lambda", "━": "-",
    "─": "-",
}  # fmt: skip
"""Signs that we write ourselves; of other letters, the accents go, and what is left without a letter is ``?``."""


def spell_out_letters() -> None:
    """Make standard output and standard error spell characters that they cannot encode in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def as_shown(text: str) -> str:
    """``text`` as standard output can show it, for libraries that would write UTF-8 to a terminal that knows ASCII."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelling, error.object[error.start : error.end])), error.end


def _spelling(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return SPELLINGS.get(letter) or bare or "?"


codecs.register_error(ERRORS, _spelled)
