"""``make audit``: known vulnerabilities of everything pinned, and secrets among the files; ``make check``: the latter.

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

ROOT = Path(__file__).resolve().parents[2]
NO_SECRETS = (
    # Ids that the service gives out, in pages that show its answers: hashes of bundles, requests, receipts.
    ("--exclude-lines", r'"(bundle|receipt|request_id)": "[0-9a-f]{32,64}"'),
    # Written by `make openapi` from code, which is looked at itself.
    ("--exclude-files", r"(^|/)openapi\.json$"),
)
"""What looks like secrets and is none, where no comment can say so. Elsewhere a comment does, and goes with its line
wherever that moves: ``# pragma: allowlist secret``."""


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


def secrets(output: str) -> Report:
    """What detect-secrets found in the files."""
    if not output.strip():
        return Report(missed=["detect-secrets gave no answer; run it by hand: detect-secrets scan"])
    results: dict[str, list[dict[str, Any]]] = json.loads(output)["results"]
    found = [f"{name}:{each['line_number']}: {each['type']}" for name, all_of in results.items() for each in all_of]
    if found:
        found.append("where one is none, end its line with the comment: pragma: allowlist secret")
    return Report(found=found)


def scan() -> str:
    """detect-secrets' findings in every tracked file, as JSON; nothing is asked of a network."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    excluded = [word for option in NO_SECRETS for word in option]
    return tool("detect-secrets", "scan", "--no-verify", *excluded, *files).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit; with ``--secrets`` the files alone, which takes no network."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities of what is pinned, and secrets in the files.")
    parser.add_argument("--secrets", action="store_true", help="look for secrets alone")
    only_secrets = parser.parse_args(arguments).secrets
    reports = {"secrets": secrets(scan())}
    if not only_secrets:
        pins = ["-r", "constraints.txt", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        reports["vulnerabilities"] = vulnerabilities(tool("pip-audit", *pins).stdout)
    for name, report in reports.items():
        lines = [*report.found, *(f"not audited: {reason}" for reason in report.missed)] or ["nothing found"]
        print("\n".join(f"{name}: {line}" for line in lines))
    if reports["secrets"].found:
        return 3
    if any(report.found for report in reports.values()):
        return 1
    return 2 if any(report.missed for report in reports.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
