"""``make audit``: known vulnerabilities of everything pinned, and secrets among the files.

Status 0: nothing found; 1: vulnerabilities; 3: secrets (and perhaps vulnerabilities); 2: nothing was found, but a part
could not be audited, which is not the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / ".secrets.baseline"
"""What was looked at and is no secret, as detect-secrets writes it: hashes, no texts."""


@dataclass
class Report:
    """What an audit came to. ``found``: lines for people; ``missed``: why some of it could not be done."""

    found: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that stands beside this Python."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def vulnerabilities(output: str) -> Report:
    """What pip-audit's JSON says; what it skipped counts as missed."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return Report(missed=["pip-audit gave no answer; is the network there?"])
    report = Report()
    for package in packages:
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            report.found.append(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        named = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        report.missed.append(
            f"{len(skipped)} of {len(packages)} packages have no entry where pip-audit asks ({named}); "
            "a mirror of the index has none: run it where pypi.org itself can be reached"
        )
    return report


def secrets(output: str, *, known: str) -> Report:
    """What detect-secrets found in the files beyond the ``known`` baseline."""
    if not output.strip():
        return Report(missed=["detect-secrets gave no answer; run it by hand: detect-secrets scan"])
    accepted = {(name, each["hashed_secret"]) for name, each in _findings(known)}
    fresh = [(name, each) for name, each in _findings(output) if (name, each["hashed_secret"]) not in accepted]
    return Report(found=[f"{name}:{each['line_number']}: {each['type']}" for name, each in fresh])


def scan() -> str:
    """detect-secrets' findings in every tracked file, as JSON."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split("\0") if name and name != BASELINE.name and (ROOT / name).is_file()]
    return tool("detect-secrets", "scan", *files).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, or with ``--accept`` write down that what is found now was looked at and is no secret."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities of what is pinned, and secrets in the files.")
    parser.add_argument("--accept", action="store_true", help="take what is found now for no secret")
    if parser.parse_args(arguments).accept:
        BASELINE.write_text(scan())
        return 0
    pins = ["-r", "constraints.txt", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    reports = {
        "vulnerabilities": vulnerabilities(tool("pip-audit", *pins).stdout),
        "secrets": secrets(scan(), known=BASELINE.read_text()),
    }
    for name, report in reports.items():
        lines = [*report.found, *(f"not audited: {reason}" for reason in report.missed)] or ["nothing found"]
        print("\n".join(f"{name}: {line}" for line in lines))
    if reports["secrets"].found:
        return 3
    if reports["vulnerabilities"].found:
        return 1
    return 2 if any(report.missed for report in reports.values()) else 0


def _findings(output: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, each) for name, found in json.loads(output)["results"].items() for each in found]


if __name__ == "__main__":
    raise SystemExit(main())
