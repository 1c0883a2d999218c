"""What ``make audit`` makes of its tools' answers: a silent tool must never read as a clean bill of health."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts import audit


def pip_audit(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "odd", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("output", "found", "missed"),
    [
        (pip_audit(CLEAN), [], 0),
        (pip_audit(CLEAN, BAD), ["old 1.0: PYSEC-1, fixed in 1.1"], 0),
        (pip_audit(CLEAN, SKIPPED), [], 1),
        ("", [], 1),
        ("{}", [], 1),
    ],
)
def test_what_is_vulnerable_and_what_was_not_looked_at_are_told_apart(
    output: str, found: list[str], missed: int
) -> None:
    report = audit.vulnerabilities(output)
    assert (report.found, len(report.missed)) == (found, missed)


def test_only_what_nobody_has_looked_at_is_a_secret() -> None:
    def findings(*hashes: str) -> str:
        return json.dumps(
            {"results": {"a.py": [{"hashed_secret": each, "line_number": 7, "type": "Key"} for each in hashes]}}
        )

    assert audit.secrets(findings("x"), known=findings("x", "y")).found == []
    assert audit.secrets(findings("x", "z"), known=findings("x")).found == ["a.py:7: Key"]
    silent = audit.secrets("", known=findings("x"))
    assert (silent.found, len(silent.missed)) == ([], 1)


NOTHING = json.dumps({"results": {}})
SECRET = json.dumps({"results": {"a.py": [{"hashed_secret": "x", "line_number": 7, "type": "Key"}]}})


@pytest.mark.parametrize(
    ("output", "scanned", "status"),
    [
        (pip_audit(CLEAN), NOTHING, 0),
        (pip_audit(BAD), NOTHING, 1),
        (pip_audit(SKIPPED), NOTHING, 2),
        ("", NOTHING, 2),
        (pip_audit(CLEAN), "", 2),
        (pip_audit(CLEAN), SECRET, 3),
        (pip_audit(BAD), SECRET, 3),
        ("", SECRET, 3),
    ],
)
def test_the_status_tells_secrets_vulnerabilities_and_what_was_not_audited_apart(
    output: str, scanned: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = audit.main.__globals__

    class Done:
        stdout = output

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(namespace, "tool", lambda *_: Done)
        patch.setitem(namespace, "scan", lambda: scanned)
        assert audit.main([]) == status
    shown = capsys.readouterr().out
    assert ("secrets: nothing found" in shown) == (scanned == NOTHING)
    assert ("secrets: a.py:7: Key" in shown) == (scanned == SECRET)
