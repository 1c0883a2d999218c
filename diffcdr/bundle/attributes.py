"""Item attributes: typed, memory-mapped columns, read by :mod:`diffcdr.filtering`.

    target_items/attributes/N/  values [present] [indptr] [word_offsets word_text]      attribute N of the manifest

    number      values int32, int64, float32 or float64 [m], the first that holds all of them exactly
    boolean     values bool [m]
    text        values uint8, uint16 or uint32 [m]: indices of words
    category    values of the same kinds [R], ascending in each row of the CSR of indptr int64 [m + 1]

``present`` bool [m]: which items have a value, if some have none. Words are unique and sorted by their UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from diffcdr.arrays import BoolArray, Int64Array
from diffcdr.bundle.titles import TitleTable

if TYPE_CHECKING:
    from diffcdr.bundle.writer import BundleWriter

AttributeKind = Literal["number", "boolean", "text", "category"]
Value = float | int | bool | str | list[str] | None

ATTRIBUTES_FOLDER = "target_items/attributes"
MAX_ATTRIBUTES = 64
MAX_NAME = 100
"""Longest name of an attribute, in characters."""
MAX_WORD_BYTES = 256
"""Longest text value, in bytes."""
AVAILABLE, TAGS = "available", "tags"
"""Attributes that the service can change while it runs: a boolean and a category."""


class AttributeSpec(BaseModel):
    """One attribute of the target items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=MAX_NAME)
    kind: AttributeKind


@dataclass(frozen=True)
class Attribute:
    """One column, in the layout of the module's docstring."""

    kind: AttributeKind
    values: npt.NDArray[Any]
    present: BoolArray | None = None
    indptr: Int64Array | None = None
    words: TitleTable | None = None

    @classmethod
    def numbers(cls, values: npt.NDArray[Any], present: BoolArray) -> Self:
        """A column of numbers [m], finite where ``present`` [m], in the smallest type that holds all of them."""
        values = np.where(present, values, 0)
        for kind in (np.int32, np.int64, np.float32, np.float64):
            with np.errstate(over="ignore", invalid="ignore"):
                packed = values.astype(kind)
                if np.array_equal(packed.astype(values.dtype), values):
                    break
        return cls("number", packed, _some(present))

    @classmethod
    def booleans(cls, values: BoolArray, present: BoolArray) -> Self:
        """A column of ``values`` bool [m] where ``present`` [m]."""
        return cls("boolean", values & present, _some(present))

    @classmethod
    def texts(cls, codes: npt.NDArray[np.integer[Any]], present: BoolArray, words: Sequence[str]) -> Self:
        """A column of indices ``codes`` [m] into the sorted ``words``, where ``present`` [m]."""
        packed = np.where(present, codes, 0).astype(_code_kind(len(words)))
        return cls("text", packed, _some(present), words=TitleTable.build(words))

    @classmethod
    def categories(cls, indptr: Int64Array, codes: npt.NDArray[np.integer[Any]], words: Sequence[str]) -> Self:
        """A column of indices ``codes`` [R] into the sorted ``words``, ascending in each row of ``indptr`` [m + 1]."""
        packed = codes.astype(_code_kind(len(words)))
        return cls("category", packed, indptr=indptr.astype(np.int64), words=TitleTable.build(words))

    def value(self, row: int) -> Value:
        """The value of the item at ``row``; None if it has none."""
        if self.indptr is not None:
            codes = self.values[self.indptr[row] : self.indptr[row + 1]]
            return [self._word(code) for code in codes.tolist()] or None
        if self.present is not None and not self.present[row]:
            return None
        found: Value = self.values[row].item()
        return self._word(found) if isinstance(found, int) and self.words is not None else found

    def place(self, word: str) -> tuple[int, bool]:
        """The index that ``word`` has, or would have, in the words, and whether it is there."""
        assert self.words is not None
        wanted = word.encode("utf-8", "surrogatepass")
        low, high = 0, len(self.words.offsets) - 1
        while low < high:
            middle = (low + high) // 2
            if self._word(middle).encode() < wanted:
                low = middle + 1
            else:
                high = middle
        return low, low < len(self.words.offsets) - 1 and self._word(low).encode() == wanted

    def take(self, rows: Int64Array) -> Self:
        """The column of the items at ``rows``, ascending; the words stay."""
        if self.indptr is None:
            present = None if self.present is None else _some(self.present[rows])
            return replace(self, values=self.values[rows], present=present)
        counts = np.diff(self.indptr)
        chosen = np.zeros(len(counts), dtype=bool)
        chosen[rows] = True
        indptr = np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64)
        return replace(self, values=self.values[np.repeat(chosen, counts)], indptr=indptr)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The tables by name, as they are stored."""
        yield "values", self.values
        if self.present is not None:
            yield "present", self.present
        if self.indptr is not None:
            yield "indptr", self.indptr
        if self.words is not None:
            yield "word_offsets", self.words.offsets
            yield "word_text", self.words.text

    def _word(self, code: int) -> str:
        assert self.words is not None
        return self.words[code] or ""


def _some(present: BoolArray) -> BoolArray | None:
    return None if present.all() else present


def _code_kind(words: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if words <= 1 << 8 else np.uint16 if words <= 1 << 16 else np.uint32


@dataclass(frozen=True)
class ItemAttributes:
    """All attributes of a bundle, by name, in the manifest's order."""

    columns: Mapping[str, Attribute]

    @classmethod
    def open(cls, specs: Sequence[AttributeSpec], files: Mapping[str, Any], array: Callable[[str], Any]) -> Self:
        """The attributes in the manifest; ``array`` opens a table by name, ``files`` are those of the bundle."""
        columns: dict[str, Attribute] = {}
        for number, spec in enumerate(specs):
            folder = f"{ATTRIBUTES_FOLDER}/{number}"

            def table(name: str, folder: str = folder) -> Any:
                return array(f"{folder}/{name}.npy") if f"{folder}/{name}.npy" in files else None

            offsets, text = table("word_offsets"), table("word_text")
            words = None if offsets is None or text is None else TitleTable(offsets, text)
            columns[spec.name] = Attribute(
                spec.kind, array(f"{folder}/values.npy"), table("present"), table("indptr"), words
            )
        return cls(columns)

    def take(self, rows: Int64Array) -> Self:
        """The attributes of the items at ``rows``, ascending."""
        return replace(self, columns={name: column.take(rows) for name, column in self.columns.items()})

    def specs(self) -> tuple[AttributeSpec, ...]:
        """The attributes as the manifest lists them."""
        return tuple(AttributeSpec(name=name, kind=column.kind) for name, column in self.columns.items())

    def write(self, writer: BundleWriter) -> None:
        """Add the tables to a bundle."""
        for number, column in enumerate(self.columns.values()):
            for name, table in column.arrays():
                writer.array(f"{ATTRIBUTES_FOLDER}/{number}/{name}.npy", table)

    def of(self, row: int) -> dict[str, Value]:
        """The attributes of the item at ``row`` that have a value."""
        found = {name: column.value(row) for name, column in self.columns.items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
        return sum(table.nbytes for column in self.columns.values() for _, table in column.arrays())


NO_ATTRIBUTES = ItemAttributes({})
