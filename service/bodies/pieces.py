"""Parses large JSON bodies piece by piece: lengths are checked before values, and the first error stops it.

A parser reads a text whole: 16 MB of ``[0,0,…`` become 8 million objects before anybody counts them. Here the text of
an object is cut at its members, and that of a list at its elements, by searching for marks; each piece is parsed by
itself. So memory stays that of the text, and the interpreter's lock is free between two pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import numpy.typing as npt
from annotated_types import Len, MaxLen
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from service.bodies.json_cutter import PIECE_BYTES, Cutter, Text, invalid
from service.edge.problems import from_validation

M = TypeVar("M", bound=BaseModel)

NUMBER_BYTES = 32
"""Most bytes of a number in a list of numbers, with what stands between it and the next, on average."""
MAX_MEMBERS = 64
"""Most members of the object that a body is."""

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class _ListRule:
    """How a list in the body is read."""

    element: TypeAdapter[Any]
    max_length: int
    piece_bytes: int
    pack: Callable[[Any], Any]
    """What is kept of an element."""
    run: TypeAdapter[tuple[Any, ...]] | None = None
    """Reads many elements at once, where they are text."""


def parse_in_pieces(model: type[M], text: Text) -> M:
    """``text`` as a ``model``; of its lists of lists of numbers, the inner ones are arrays, float32 [n].

    Raises:
        Problem: 400 where it is not JSON, 422 with the first part that is wrong.
    """
    cutter = Cutter(text)
    skeleton, lists = _object(cutter, model, ())
    cutter.finish()
    # What holds for the first elements, and for their being there at all, holds for the lists.
    checked: M = _validated(partial(model.model_validate_json, skeleton))
    return _with_lists(checked, lists)


_Lists = dict[str, "tuple[Any, ...] | _Lists"]
"""The lists among the members of an object, by name, and those of the objects in it."""


def _object(cutter: Cutter, model: type[BaseModel], location: tuple[str, ...]) -> tuple[bytes, _Lists]:
    """The object at ``location`` that begins here, each of its lists cut to the first element; and its lists."""
    rules, parts = _rules(model), _parts(model)
    lists: _Lists = {}
    skeleton: list[bytes] = []
    cutter.take(b"{")
    while not cutter.ends(b"}", first=not skeleton):
        if len(skeleton) == MAX_MEMBERS:
            raise invalid("".join(f"/{part}" for part in location), f"an object may have {MAX_MEMBERS} members at most")
        key = cutter.key()
        name = key[1:-1].decode("utf-8", "replace")
        here = (*location, name)
        if name in rules and cutter.peek() == b"[":
            lists[name], first = _elements(cutter, here, rules[name])
            value = b"[%b]" % first
        elif name in parts and cutter.peek() == b"{":
            value, lists[name] = _object(cutter, parts[name], here)
        else:
            value = cutter.value(_pointer(here), PIECE_BYTES)
        skeleton.append(key + b":" + value)
    return b"{%b}" % b",".join(skeleton), lists


def _with_lists(checked: M, lists: _Lists) -> M:
    return checked.model_copy(
        update={
            name: value if isinstance(value, tuple) else _with_lists(getattr(checked, name), value)
            for name, value in lists.items()
        }
    )


def _elements(cutter: Cutter, location: tuple[str, ...], rule: _ListRule) -> tuple[tuple[Any, ...], bytes]:
    """The elements of the list that begins here, and the text of the first."""
    pointer = _pointer(location)
    values: list[Any] = []
    first = b""
    cutter.take(b"[")
    while not cutter.ends(b"]", first=not values):
        if len(values) == rule.max_length:
            raise invalid(pointer, f"there are more than {rule.max_length} items; send {rule.max_length} at most")
        if rule.run is not None and (run := cutter.run()) is not None:
            many = _read_run(rule.run, run)
            if many is not None and len(values) + len(many) <= rule.max_length:
                first = first or run[: run.index(b'"', 1) + 1]
                values.extend(many)
                cutter.skip(len(run))
                continue
        piece = cutter.value(f"{pointer}/{len(values)}", rule.piece_bytes)
        first = first or piece
        values.append(rule.pack(_validated(partial(rule.element.validate_json, piece), *location, len(values))))
    return tuple(values), first


def _read_run(adapter: TypeAdapter[tuple[Any, ...]], run: bytes) -> tuple[Any, ...] | None:
    """The elements of ``run``; None where one is wrong: which one is found out one by one."""
    try:
        return adapter.validate_json(b"[%b]" % run)
    except ValidationError:
        return None


def _pointer(location: tuple[str, ...]) -> str:
    return "".join(f"/{part}" for part in location)


def _validated(read: Callable[[], Any], *location: str | int) -> Any:
    try:
        return read()
    except ValidationError as error:
        problem = from_validation(error, location)
    raise problem


@cache
def _rules(model: type[BaseModel]) -> Mapping[str, _ListRule]:
    """How each list among the fields of ``model`` is read, by name."""
    found = {name: _list_of(field) for name, field in model.model_fields.items()}
    return {name: _rule(*parts) for name, parts in found.items() if parts is not None}


@cache
def _parts(model: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """The objects among the fields of ``model`` that hold lists, by name."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        is_choice = get_origin(field.annotation) in (Union, UnionType)
        for kind in get_args(field.annotation) if is_choice else (field.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and _rules(kind):
                found[name] = kind
    return found


def _rule(element: Any, max_length: int) -> _ListRule:
    inner = _tuple_of(element, ())
    if inner is None:
        is_model = isinstance(element, type) and issubclass(element, BaseModel)
        adapter = TypeAdapter(element) if is_model else TypeAdapter(element, config=_STRICT)
        run = None if is_model else TypeAdapter(tuple[element, ...], config=_STRICT)
        return _ListRule(adapter, max_length, PIECE_BYTES, pack=lambda value: value, run=run)
    return _ListRule(TypeAdapter(element, config=_STRICT), max_length, inner[1] * NUMBER_BYTES, pack=_packed)


def _packed(numbers: tuple[float, ...]) -> npt.NDArray[np.float32]:
    # A tuple of floats takes eight times as much.
    with np.errstate(over="ignore"):
        return np.array(numbers, dtype=np.float32)


def _list_of(field: FieldInfo) -> tuple[Any, int] | None:
    """What the field is a list of and how many of them there may be; None where it is no list."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if found := _tuple_of(kind, field.metadata):
            return found
    return None


def _tuple_of(kind: Any, metadata: Any) -> tuple[Any, int] | None:
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        metadata = [*metadata, *(part for each in inner for part in getattr(each, "metadata", [each]))]
    if get_origin(kind) is not tuple:
        return None
    limits = [part.max_length for part in metadata if isinstance(part, MaxLen | Len) and part.max_length is not None]
    if not limits:
        raise TypeError(f"a list in a request needs a max_length: {kind}")
    return get_args(kind)[0], limits[0]
