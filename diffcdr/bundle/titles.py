"""Item titles, one per row, as UTF-8 text and offsets: two arrays that can be memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TitleTable:
    """``text``: uint8 [bytes]; title of row i is ``text[offsets[i]:offsets[i + 1]]``, empty where unknown."""

    offsets: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]

    @classmethod
    def build(cls, titles: Sequence[str]) -> Self:
        """Pack ``titles``."""
        encoded = [title.encode("utf-8", "replace") for title in titles]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(title) for title in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def __getitem__(self, row: int) -> str | None:
        return self.take(np.array([row]))[0]

    def search(self, wanted: str, limit: int) -> list[int]:
        """Rows of the first ``limit`` titles that hold ``wanted``, whatever the case of ASCII letters."""
        needle, text = wanted.encode("utf-8", "replace").lower(), self._lowered
        rows: list[int] = []
        at = text.find(needle) if needle else -1
        while at >= 0 and len(rows) < limit:
            row = int(np.searchsorted(self.offsets, at, side="right")) - 1
            stop = int(self.offsets[row + 1])
            if at + len(needle) <= stop:
                rows.append(row)
                at = stop - 1
            at = text.find(needle, at + 1)
        return rows

    @cached_property
    def _lowered(self) -> bytes:
        # Offsets stay true: only single bytes are changed.
        return self.text.tobytes().lower()

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> list[str | None]:
        """Titles of ``rows``, in their order; None where unknown."""
        text = self.text.data
        starts, stops = self.offsets[rows].tolist(), self.offsets[rows + 1].tolist()
        return [bytes(text[start:stop]).decode() or None for start, stop in zip(starts, stops, strict=True)]
