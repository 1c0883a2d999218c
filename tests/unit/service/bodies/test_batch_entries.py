from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.bodies.batch_entries import TOO_LONG, list_entries, ndjson_entries
from service.edge.problems import Problem

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def collect(
    split: Callable[..., AsyncIterator[bytes | None]], parts: Sequence[bytes], max_bytes: int = 1 << 20
) -> list[bytes | None]:
    async def source() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async def main() -> list[bytes | None]:
        return [entry async for entry in split(source(), max_bytes=max_bytes)]

    return asyncio.run(main())


def cut(text: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]


@given(lines=st.lists(st.binary(max_size=30)), places=st.lists(st.integers(0, 1000), max_size=8))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], places: list[int]) -> None:
    text = b"\n".join(lines)
    whole = [line for line in text.split(b"\n") if line.strip(b" \t\r\n")]
    assert collect(ndjson_entries, cut(text, places)) == whole


@given(
    sizes=st.lists(st.integers(1, 40), max_size=8),
    places=st.lists(st.integers(0, 1000), max_size=8),
    newline_at_end=st.booleans(),
)
def test_a_long_line_costs_only_itself(sizes: list[int], places: list[int], newline_at_end: bool) -> None:
    text = b"\n".join(b"x" * size for size in sizes) + (b"\n" if newline_at_end else b"")
    expected = [b"x" * size if size <= 20 else TOO_LONG for size in sizes]
    assert collect(ndjson_entries, cut(text, places), max_bytes=20) == expected


@given(elements=st.lists(values, max_size=6), places=st.lists(st.integers(0, 1000), max_size=8))
@example(elements=[], places=[])
def test_elements_are_the_same_however_they_arrive(elements: list[object], places: list[int]) -> None:
    text = json.dumps(elements, indent=1).encode()
    found = collect(list_entries, cut(text, places))
    assert [json.loads(entry or b"") for entry in found] == elements


@given(elements=st.lists(values, max_size=6), places=st.lists(st.integers(0, 1000), max_size=8))
def test_texts_of_elements_are_kept_as_they_are(elements: list[object], places: list[int]) -> None:
    # What no JSON parser could carry through unchanged.
    odd = [b"1e999", b"NaN", b'"\\ud800"', b"{]", b"99999999999999999999", b'"\xff"']
    texts = [*odd, *(json.dumps(element).encode() for element in elements)]
    assert collect(list_entries, cut(b" [" + b",".join(texts) + b"] ", places)) == texts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "malformed_json"),
        (b"  \n", "malformed_json"),
        (b"[", "malformed_json"),
        (b'[{"a": 1}', "malformed_json"),
        (b'[{"a": 1},]', "malformed_json"),
        (b"[,1]", "malformed_json"),
        (b"[1,,2]", "malformed_json"),
        (b"[,]", "malformed_json"),
        (b"[1}", "malformed_json"),
        (b"[1] 2", "malformed_json"),
        (b"[1]]", "malformed_json"),
        (b'["a]', "malformed_json"),
        (b'{"item": 1}', "invalid_request"),
        (b'"text"', "invalid_request"),
        (b"nonsense", "invalid_request"),
        (b'["' + b"x" * 5000, "invalid_request"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_is_not_a_whole_list_is_refused(text: bytes, code: str, step: int) -> None:
    with pytest.raises(Problem) as refused:
        collect(list_entries, [text[at : at + step] for at in range(0, len(text), step)], max_bytes=1000)
    assert refused.value.code == code


@given(
    sizes=st.lists(st.integers(1, 60), max_size=8),
    places=st.lists(st.integers(0, 1000), max_size=8),
)
def test_a_large_element_costs_only_itself(sizes: list[int], places: list[int]) -> None:
    elements = [json.dumps([1] * size, separators=(",", ":")).encode() for size in sizes]
    expected = [element if len(element) <= 50 else TOO_LONG for element in elements]
    assert collect(list_entries, cut(b"[" + b",".join(elements) + b"]", places), max_bytes=50) == expected
