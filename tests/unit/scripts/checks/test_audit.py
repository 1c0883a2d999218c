"""What ``make audit`` makes of its tools' answers: a silent tool must never read as a clean bill of health."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.checks import audit


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


ID = "bfab4c81baaa4ffebd6bbfd99f4cb75b" * 2  # pragma: allowlist secret


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder under git to audit in place of this one."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", ["key.py", "moved/key.py"])
def test_a_secret_is_found_by_its_line_unless_a_comment_on_it_says_that_it_is_none(project: Path, place: str) -> None:
    file = project / place
    file.parent.mkdir(exist_ok=True)
    line = f'KEY = "{ID}"'
    file.write_text(f"import os\n{line}\n{line}  # pragma: allowlist secret\n")
    assert audit.secrets(audit.scan()).found == []  # git does not know it
    subprocess.run(["git", "-C", str(project), "add", "."], check=True)
    found, advice = audit.secrets(audit.scan()).found
    assert found == f"{place}:2: Hex High Entropy String"
    assert "pragma: allowlist secret" in advice


@pytest.mark.parametrize(("name", "seen"), [("bundle", False), ("request_id", False), ("api_key", True)])
def test_ids_of_generated_pages_are_no_secrets(project: Path, name: str, seen: bool) -> None:
    (project / "page.json").write_text(json.dumps({name: ID}))
    subprocess.run(["git", "-C", str(project), "add", "."], check=True)
    assert bool(audit.secrets(audit.scan()).found) == seen


def test_silence_is_not_nothing_found() -> None:
    silent = audit.secrets("")
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
