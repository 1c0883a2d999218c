"""Checks that the tables of an open bundle are valid and fit together: shapes, types, ranges, finite values, UTF-8.

Hashes say that a bundle is what was published. This says that what was published can be served: whatever reads tables
afterwards may rely on it, and has no checks of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.attributes import AVAILABLE, TAGS, Attribute
from diffcdr.bundle.display_tables import SourceHistory, UserMap
from diffcdr.bundle.ids import MAX_ID_BYTES, IdTable
from diffcdr.bundle.neighbours import LARGEST_VALUE, LARGEST_WEIGHT, LEAST_WEIGHT, NeighbourTables
from diffcdr.bundle.reader import Bundle
from diffcdr.bundle.titles import TitleTable
from diffcdr.errors import BundleError

Array = npt.NDArray[Any]
Table = tuple[str, Array | None, tuple[int, ...], type[np.generic]]
"""Name, content, shape and kind."""

ROWS_AT_A_TIME = 1 << 20
LARGEST = 1e15
"""Largest value of a table: sums of products of two are far from the end of float32."""


def check_tables(bundle: Bundle) -> None:
    """Refuse tables that cannot be served. Raises a BundleError that names the table."""
    try:
        for name, table, shape, kind in _tables(bundle):
            _check_values(name, table, shape, kind)
        for name, ids in _id_tables(bundle):
            _check_ids(name, ids)
        users, items = bundle.target_users, bundle.target_items
        _check_rows("target_users/seen", users.seen_indptr, users.seen_items, rows=len(users.ids), below=len(items.ids))
        if bundle.manifest.likes is not None:
            _check_flags("target_users/seen_liked", users.seen_liked, len(users.seen_items))
        for name, titles, rows in (
            ("source_items", bundle.source_items.titles, len(bundle.source_items.ids)),
            ("target_items", items.titles, len(items.ids)),
        ):
            if titles is not None:
                _check_titles(f"{name}/titles", titles, rows)
        _check_attributes(bundle)
        if bundle.neighbours is not None:
            _check_neighbours(bundle, bundle.neighbours)
        _check_display(bundle)
    except _Unfit as unfit:
        raise BundleError(f"{unfit.args[0]} of bundle {bundle.path} {unfit.args[1]}; publish it again") from unfit


def check_sizes(bundle: Bundle) -> None:
    """Refuse values so large that scores overflow, which the runtime tolerates user by user. Raises BundleError."""
    for name, table, _, _ in _tables(bundle):
        if table is not None and max(table.max(initial=0), -table.min(initial=0)) > LARGEST:
            raise BundleError(f"{name} of bundle {bundle.path} holds a value beyond {LARGEST:g}; train it again")


class _Unfit(Exception):
    """A table, and what is wrong with it."""


def _tables(bundle: Bundle) -> Iterator[Table]:
    transfer, items, fold = bundle.manifest.transfer, bundle.target_items, bundle.manifest.fold_in
    users, source_items = bundle.source_users, bundle.source_items
    yield "source_users/vectors", users.vectors, (len(users.ids), transfer.source_dim), np.floating
    warm = bundle.target_users
    yield "target_users/vectors", warm.vectors, (len(warm.ids), transfer.target_dim), np.floating
    yield "target_items/vectors", items.vectors, (len(items.ids), transfer.target_dim), np.floating
    yield "target_items/biases", items.biases, (len(items.ids),), np.floating
    yield "target_items/popularity", items.popularity, (len(items.ids),), np.integer
    if bundle.affine is not None:
        yield "transfer/matrix", bundle.affine[0], (transfer.source_dim, transfer.target_dim), np.floating
        yield "transfer/offset", bundle.affine[1], (transfer.target_dim,), np.floating
    if fold is None:  # without fold-in, source items are there for their titles at most
        return
    width = transfer.source_dim
    if fold.history is not None:
        width -= fold.history.dim
        yield "source_items/idf", source_items.idf, (len(source_items.ids),), np.floating
        yield "source_items/basis", source_items.basis, (len(source_items.ids), fold.history.dim), np.floating
    if fold.shape is not None:
        width -= fold.shape.dim
        yield "source_items/level_biases", source_items.level_biases, (len(source_items.ids),), np.floating
    yield "source_items/vectors", source_items.vectors, (len(source_items.ids), width), np.floating
    yield "source_items/biases", source_items.biases, (len(source_items.ids),), np.floating


def _id_tables(bundle: Bundle) -> Iterator[tuple[str, IdTable]]:
    yield "source_users/ids", bundle.source_users.ids
    yield "source_items/ids", bundle.source_items.ids
    yield "target_users/ids", bundle.target_users.ids
    yield "target_items/ids", bundle.target_items.ids


def _check_values(name: str, table: Array | None, shape: tuple[int, ...], kind: type[np.generic]) -> None:
    if table is None:
        raise _Unfit(name, "is missing")
    if table.shape != shape:
        raise _Unfit(name, f"has shape {table.shape}, not {shape}")
    if not np.issubdtype(table.dtype, kind) or not table.dtype.isnative:
        raise _Unfit(name, f"holds {table.dtype}, not {kind.__name__} numbers of this machine")
    for start in range(0, len(table), ROWS_AT_A_TIME):
        part = table[start : start + ROWS_AT_A_TIME]
        if not np.isfinite(part).all():
            raise _Unfit(name, "holds a value that is not finite")


def _check_ids(name: str, ids: IdTable) -> None:
    array = ids.array
    if array.ndim != 1 or array.dtype.kind != "S" or array.dtype.itemsize > MAX_ID_BYTES:
        raise _Unfit(name, f"holds {array.dtype} in shape {array.shape}, not a list of ids")
    if len(array) and not array[0]:
        raise _Unfit(name, "holds an empty id")
    for start in range(0, len(array), ROWS_AT_A_TIME):
        part = array[start : start + ROWS_AT_A_TIME + 1]
        if not (part[:-1] < part[1:]).all():
            raise _Unfit(name, "is not in ascending order, or holds an id twice")
        if np.ascontiguousarray(part).view(np.uint8).max(initial=0) >= 0x80:
            try:
                b"\n".join(part.tolist()).decode()
            except UnicodeDecodeError as error:
                raise _Unfit(name, "holds an id that is not UTF-8") from error


def _check_rows(name: str, indptr: Array, items: Array, *, rows: int, below: int) -> None:
    """CSR of ``rows`` rows, over item rows from 0 to ``below``."""
    if indptr.shape != (rows + 1,) or indptr.dtype.kind != "i" or items.ndim != 1 or items.dtype.kind != "i":
        raise _Unfit(name, f"is not a table of {rows} rows: {indptr.dtype} {indptr.shape}, {items.dtype} {items.shape}")
    if indptr[0] != 0 or indptr[-1] != len(items) or (np.diff(indptr) < 0).any():
        raise _Unfit(name, "does not divide its entries into rows")
    if len(items) and (items.min() < 0 or items.max() >= below):
        raise _Unfit(name, f"names a row outside 0 to {below - 1}")


def _check_flags(name: str, flags: Array | None, size: int) -> None:
    if flags is None or flags.shape != (size,) or flags.dtype != np.bool_:
        raise _Unfit(name, f"is not one boolean for each of {size} items")


def _check_neighbours(bundle: Bundle, tables: NeighbourTables) -> None:
    source, target = len(bundle.source_items.ids), len(bundle.target_items.ids)
    users = len(bundle.source_users.ids)
    _check_rows("neighbours/items", tables.indptr, tables.items, rows=source, below=target)
    _check_ascending("neighbours/items", tables.indptr, tables.items)
    _check_rows("neighbours/user_items", tables.user_indptr, tables.user_items, rows=users, below=source)
    _check_ascending("neighbours/user_items", tables.user_indptr, tables.user_items)
    _check_values("neighbours/values", tables.values, tables.items.shape, np.float32)
    _check_values("neighbours/item_weights", tables.item_weights, (source,), np.float32)
    if len(tables.values) and not (tables.values.min() > 0 and tables.values.max() <= LARGEST_VALUE):
        raise _Unfit("neighbours/values", f"holds a value that is not above 0, or beyond {LARGEST_VALUE:g}")
    weights = tables.item_weights
    if not ((weights == 0) | ((weights >= LEAST_WEIGHT) & (weights <= LARGEST_WEIGHT))).all():
        raise _Unfit("neighbours/item_weights", f"holds neither 0 nor {LEAST_WEIGHT:g} to {LARGEST_WEIGHT:g}")


def _check_ascending(name: str, indptr: Array, items: Array) -> None:
    """Each row of a CSR ascends, nothing twice."""
    for start in range(0, len(items) - 1, ROWS_AT_A_TIME):
        part = items[start : start + ROWS_AT_A_TIME + 1]
        falls = np.flatnonzero(part[1:] <= part[:-1]) + start + 1
        if not np.isin(falls, indptr).all():
            raise _Unfit(name, "does not ascend within a row")


def _check_attributes(bundle: Bundle) -> None:
    specs, columns = bundle.manifest.attributes, bundle.target_items.attributes.columns
    if len(columns) != len(specs):
        raise _Unfit("the list of attributes", "names one twice")
    for name, wanted in ((AVAILABLE, "boolean"), (TAGS, "category")):
        if name in columns and columns[name].kind != wanted:
            raise _Unfit(f"attribute {name!r}", f"is a {columns[name].kind}, not a {wanted}")
    for name, column in columns.items():
        _check_attribute(f"attribute {name!r}", column, len(bundle.target_items.ids))


def _check_attribute(name: str, column: Attribute, rows: int) -> None:
    coded = column.kind in ("text", "category")
    if coded != (column.words is not None) or (column.kind == "category") != (column.indptr is not None):
        raise _Unfit(name, f"lacks the tables of a {column.kind}")
    if column.present is not None:
        _check_values(f"{name} (present)", column.present, (rows,), np.bool_)
    shape = (rows,) if column.indptr is None else column.values.shape
    kind = np.unsignedinteger if coded else np.number if column.kind == "number" else np.bool_
    if column.kind == "number" and column.values.dtype.kind not in "if":
        raise _Unfit(name, f"holds {column.values.dtype}, not numbers")
    _check_values(name, column.values, shape, kind)
    if column.words is None:
        return
    _check_titles(f"{name} (words)", column.words, len(column.words.offsets) - 1)
    words = column.words.take(np.arange(len(column.words.offsets) - 1))
    encoded = [(word or "").encode() for word in words]
    if any(low >= high for low, high in zip(encoded, encoded[1:], strict=False)):
        raise _Unfit(f"{name} (words)", "are not in ascending order, or one is repeated")
    there = column.values if column.present is None else column.values[column.present]
    if len(there) and int(there.max()) >= len(words):
        raise _Unfit(name, "names a word that does not exist")
    if column.indptr is not None:
        _check_rows(name, column.indptr, column.values.astype(np.int64), rows=rows, below=max(1, len(words)))
        _check_ascending(name, column.indptr, column.values)


def _check_titles(name: str, titles: TitleTable, rows: int) -> None:
    offsets, text = titles.offsets, titles.text
    if (
        rows < 0
        or offsets.shape != (rows + 1,)
        or offsets.dtype.kind != "i"
        or text.ndim != 1
        or text.dtype != np.uint8
    ):
        raise _Unfit(name, f"are not those of {rows} items")
    if offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) < 0).any():
        raise _Unfit(name, "do not divide their text")
    if text.max(initial=0) < 0x80:
        return
    try:
        text.tobytes().decode()
    except UnicodeDecodeError as error:
        raise _Unfit(name, "are not UTF-8") from error
    inside = offsets[offsets < len(text)]
    if ((text[inside] & 0xC0) == 0x80).any():
        raise _Unfit(name, "divide their text within a character")


def _check_display(bundle: Bundle) -> None:
    history, user_map = bundle.console.history, bundle.console.map
    if history is not None:
        _check_history(bundle, history)
    if user_map is not None:
        _check_map(bundle, user_map)


def _check_history(bundle: Bundle, history: SourceHistory) -> None:
    rows, below = len(bundle.source_users.ids), len(bundle.source_items.ids)
    _check_rows("source_history", history.indptr, history.items, rows=rows, below=below)
    _check_values("source_history/ratings", history.ratings, history.items.shape, np.floating)


def _check_map(bundle: Bundle, user_map: UserMap) -> None:
    points = {"source": user_map.source, "transferred": user_map.transferred, "target": user_map.target}
    points |= {f"others/{name}": other for name, other in user_map.others.items()}
    for name, table in points.items():
        _check_values(f"map/{name}", table, (len(user_map.users), 2), np.floating)
    _check_values("map/item_points", user_map.item_points, (len(user_map.items), 2), np.floating)
    for name, rows, below in (
        ("map/users", user_map.users, len(bundle.source_users.ids)),
        ("map/items", user_map.items, len(bundle.target_items.ids)),
    ):
        _check_rows(name, np.array([0, len(rows)]), rows, rows=1, below=below)
