"""Sorted ids <-> rows, vectorised and memory-mapped.

Ids are kept as one fixed-width, byte-sorted NumPy array, which opens in constant time at any size and answers
look-ups by binary search. There is no dictionary to build at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.errors import InputError

MAX_ID_BYTES = 256

IdArray = np.ndarray[Any, np.dtype[np.bytes_]]


class IdTable:
    """The ids of one kind of thing (users or items of a domain), in byte order of their UTF-8 form.

    Row ``i`` of every table beside it (vectors, biases, …) belongs to ``table[i]``.
    """

    def __init__(self, array: IdArray) -> None:
        """Wrap ``array``, shape [n], dtype ``S{width}``, strictly increasing (as :meth:`build` makes it)."""
        self.array = array

    @classmethod
    def build(cls, ids: Iterable[str]) -> IdTable:
        """Sort and de-duplicate ``ids``.

        Raises:
            InputError: an id is empty, longer than ``MAX_ID_BYTES`` in UTF-8, holds a NUL character, or is not text
                (half of a surrogate pair).
        """
        encoded = []
        for text in set(ids):
            encoded.append(_encode(text))
            if not text or len(encoded[-1]) > MAX_ID_BYTES or "\0" in text or not _is_text(text):
                raise InputError(
                    f"id {text[:40]!r} cannot be used; ids have 1 to {MAX_ID_BYTES} UTF-8 bytes and no NUL"
                )
        encoded.sort()
        width = max((len(text) for text in encoded), default=1)
        return cls(np.array(encoded, dtype=f"S{width}"))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> str:
        return bytes(self.array[row]).decode()

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows of ``ids``, shape [len(ids)]; -1 where an id is not in the table."""
        if not len(ids) or not len(self.array):
            return np.full(len(ids), -1, dtype=np.int64)
        width = self.array.dtype.itemsize
        encoded = [_encode(text) for text in ids]
        # NumPy drops NULs at an id's end, and would cut a longer one to the width of the table.
        usable = np.fromiter(
            (len(text) <= width and b"\0" not in text for text in encoded), dtype=bool, count=len(encoded)
        )
        return np.where(usable, self.rows_of(np.array(encoded, dtype=f"S{width}")), -1)

    def rows_of(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """Rows of ``ids``, shape [n], any ``S`` width, such as the array of another table; -1 where not in this one."""
        if not len(ids) or not len(self.array):
            return np.full(len(ids), -1, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.array, ids), len(self.array) - 1)
        return np.where(self.array[found] == ids, found, -1).astype(np.int64)

    def starting_with(self, prefix: str, limit: int) -> range:
        """Rows of the first ``limit`` ids that begin with ``prefix``, by binary search."""
        text, width = _encode(prefix), self.array.dtype.itemsize
        if len(text) > width or b"\0" in text:
            return range(0)
        first = int(np.searchsorted(self.array, np.array([text], dtype=self.array.dtype))[0])
        # No UTF-8 text has a byte 0xFF: all that begin with the prefix lie at or below this.
        above = np.array([text + b"\xff" * (width - len(text))], dtype=self.array.dtype)
        last = int(np.searchsorted(self.array, above, side="right")[0])
        return range(first, min(last, first + limit))

    def row(self, text: str) -> int:
        """Row of one id, or -1."""
        return int(self.rows([text])[0])

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> list[str]:
        """Ids of ``rows``, in their order."""
        return [text.decode() for text in self.array[rows].tolist()]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode(text: str) -> bytes:
    # Never fails: whatever a request asks for can be looked up, and is not found.
    return text.encode("utf-8", "surrogatepass")
