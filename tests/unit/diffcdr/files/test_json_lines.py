"""Reading in slices gives, line by line, what Python's parser gives, wherever the broken lines are."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcdr.files import json_lines
from diffcdr.files.json_lines import BROKEN, BROKEN_TEXT, scan_json
from diffcdr.files.json_records import Shape

GOOD = [b'{"u": "\xc3\xa9", "r": 4.5}', b'{"r": 3, "u": "b", "more": {"a": [1, "}"]}}', b'{"u": null}', b' {"u": "c"} ']
BAD = [b"{broken", b"[1, 2]", b'{"u": "a"', b"7", b'"u"', b"nothing"]
BLANK = [b"", b"  "]

lines = st.lists(st.one_of(*(st.sampled_from(each) for each in (GOOD, GOOD, GOOD, BAD, BLANK))), max_size=400)


def expected(content: list[bytes]) -> list[tuple[str | None, str | None, bool]]:
    """(u, r, broken) of every line that is not blank."""
    rows = []
    for line in content:
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            whole = isinstance(record, dict)
            values = [record.get(key) if whole else None for key in ("u", "r")]
            rows.append((*(None if value is None else str(value) for value in values), not whole))
    return rows


@pytest.mark.parametrize("zipped", [False, True])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=lines, slice_bytes=st.sampled_from([50, 2_000, 1 << 20]))
def test_every_line_is_what_python_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, content: list[bytes], slice_bytes: int
) -> None:
    monkeypatch.setattr(json_lines, "_SLICE_BYTES", slice_bytes)
    monkeypatch.setattr(json_lines, "_FEW_LINES", 4)
    text = b"\n".join([*content, b"{broken"])  # the whole file is never read at once
    path = tmp_path / "r.json"
    path.write_bytes(gzip.compress(text, 1) if zipped else text)
    frame = scan_json(path, ["u", "r"]).collect()
    assert frame.columns == ["u", "r", BROKEN, BROKEN_TEXT]
    assert frame.drop(BROKEN_TEXT).rows() == expected([*content, b"{broken"])
    assert frame[BROKEN_TEXT].is_not_null().equals(frame[BROKEN])
    assert frame[BROKEN_TEXT][-1] == "{broken"


def test_bytes_that_are_not_text_break_no_line_but_their_own(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b'{"u": "a"}\n{"u": "\xff"}\n{"u": "b"}\n')
    assert scan_json(path, ["u"]).collect()["u"].to_list() == ["a", "\ufffd", "b"]


ODD = {
    "escapes": (r'{"u": "A\u00e9\u4e2d\ud83d\ude00", "r": "B\/1\t"}', ("Aé中😀", "B/1\t")),
    "half of a pair": (r'{"u": "A\ud83d", "r": 5}', ("A\0", "5")),
    "text and number": ('{"u": "0000013714", "r": "5.0"}', ("0000013714", "5.0")),
    "whole floats": ('{"u": 7.0, "r": 14E8}', ("7", "1400000000")),
    "more digits than a float": ('{"u": 12345678901234567890123, "r": 4.50}', ("12345678901234567890123", "4.5")),
    "very small and large": ('{"u": 1e-7, "r": 1e22}', ("0.0000001", "10000000000000000000000")),
    "below zero": ('{"u": -0.0, "r": -7.0}', ("-0", "-7")),
    "a key twice": ('{"u": "first", "u": "second", "r": 1, "r": 2}', ("first", "1")),
    "words": ('{"u": true, "r": null}', ("true", None)),
    "records": ('{"u": {"a": [1, 2.0, "x"]}, "r": []}', ('{"a": [1, 2, "x"]}', "[]")),
    "nothing": ("{}", (None, None)),
    "blanks": ('  {  "u" : " A1 " , "r":""  }  ', (" A1 ", "")),
    "a record in a text": (r'{"t": "he said \"{\\\"u\\\": \\\"X\\\"}\"\n}", "u": "A1", "r": 3.0}', ("A1", "3")),
    "others first": ('{"helpful": [0, 0], "style": {"u": "x"}, "vote": "1,204", "u": "A1", "r": 3}', ("A1", "3")),
}  # fmt: skip
"""Lines as published reviews have them, and stranger ones: (u, r) as every way of reading gives them."""


@pytest.mark.parametrize("name", ODD)
def test_an_odd_line_is_the_same_text_whichever_way_it_is_read(tmp_path: Path, name: str) -> None:
    text, expected_values = ODD[name]
    line = text.encode()
    ways = {
        "whole.json": (line + b"\n", Shape.lines),
        "beside-a-broken-line.json": (line + b"\n{broken\n", Shape.lines),
        "packed.json.gz": (gzip.compress(line + b"\r\n"), Shape.lines),
        "packed.json.bz2": (bz2.compress(line + b"\n"), Shape.lines),
        "array.json": (b"[" + line + b"]", Shape.array),
        # NaN is no JSON, and is read by Python's parser.
        "with-nan.json": (
            line.replace(b"{", b'{"n": NaN, ' if line != b"{}" else b'{"n": NaN', 1) + b"\n",
            Shape.lines,
        ),
    }
    for file, (content, shape) in ways.items():
        (tmp_path / file).write_bytes(content)
        frame = scan_json(tmp_path / file, ["u", "r"], shape=shape).collect()
        assert (file, frame.select("u", "r").rows()[0]) == (file, expected_values)
