"""Reading in slices gives, line by line, what Python's parser gives, wherever the broken lines are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcdr.files import json_lines
from diffcdr.files.json_lines import BROKEN, BROKEN_TEXT, scan_json

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
