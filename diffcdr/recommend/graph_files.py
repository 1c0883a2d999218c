"""Refuses ONNX graphs that load weights from other files, which the runtime would read from the working directory.

Only the fields that lead to tensors are followed (onnx.proto, protocol buffers' wire format), so nothing but the bytes
is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffcdr.errors import BundleError

MAX_DEPTH = 64

# message -> field number -> message it holds
_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_graph(graph: memoryview) -> None:
    """Raise BundleError if ``graph`` is not an ONNX model or refers to a file."""
    try:
        refers = _refers(graph, "model", 0)
    except (IndexError, ValueError) as error:
        raise BundleError(
            f"the bundle's transfer graph is not an ONNX model ({error}); publish the bundle again"
        ) from None
    if refers:
        raise BundleError(
            "the bundle's transfer graph keeps weights in another file, which a bundle may not; export it whole"
        )


def _refers(message: memoryview, kind: str, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    for number, value in _fields(message):
        if kind == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif (inner := _LEADS[kind].get(number)) is not None:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {number} of a {kind} is a number")
            if _refers(value, inner, depth + 1):
                return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, content) of each field; a number that is no varint counts as 0."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(message):
            raise ValueError("it ends too early")
        yield number, message[at : at + length] if wire == _BYTES else 0
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")
