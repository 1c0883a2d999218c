"""The commands of the README, the quickstart and the tutorial run as they stand, in their order; others exist."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from diffcdr.cli import commands, load_command
from tests import THREADS
from tests.docs.test_paths import ROOT, texts
from tests.servers import diffcdr

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"sh", "python", "console"}
SHOWN = {"json"}
NOT_RUN = {
    "make demo": "tests/integration/journeys/test_demo.py runs it",
    "$ curl -s http://127.0.0.1:8000/v1/recommendations": "asks the demo; tests/integration/journeys/test_demo.py does",
    "python3 -m venv .venv": "installs packages; make dist and make extras do, in fresh environments",
    "train() {": "needs the ratings of Amazon, which the repository does not hold",
    "RATINGS=./ratings SOURCE=films.csv": "needs Docker; make image-check builds the images and asks them",
}
"""Blocks that are not run here, by how they begin, and why."""


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    language: str
    text: str

    @property
    def skipped(self) -> list[str]:
        """How it begins, if it is one of those that are not run."""
        return [start for start in NOT_RUN if self.text.startswith(start)]

    def as_shell(self) -> str:
        """As part of one script; Python in a process of its own, as a reader would start it."""
        return self.text if self.language == "sh" else f"python - <<'END'\n{self.text}END\n"


def blocks(*pages: str) -> Iterator[Block]:
    """The code blocks of ``pages``, in order."""
    for page in pages:
        yield from (Block(*found) for found in BLOCK.findall((ROOT / page).read_text("utf-8")))


def run(*pages: str, folder: Path, port: int) -> str:
    """Run the blocks of ``pages`` as one script in ``folder``, with ``port`` for 8000; what it printed."""
    script = "".join(block.as_shell() for block in blocks(*pages) if block.language in RUN and not block.skipped)
    environment = {
        **os.environ,
        **THREADS,
        "DIFFCDR_PORT": str(port),
        "DIFFCDR_DRAIN_SECONDS": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"trap 'kill %1' EXIT\n{script.replace(':8000', f':{port}')}"],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        status = process.wait(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text("utf-8")
    assert status == 0, said
    return said


def test_every_block_is_run_shown_or_named_with_a_reason() -> None:
    found = list(blocks("README.md", "docs/quickstart.md", "docs/tutorial.md"))
    assert {block.language for block in found} <= RUN | SHOWN
    assert {start for block in found for start in block.skipped} == set(NOT_RUN)
    assert all(not block.text.startswith("$") for block in found if not block.skipped)


def test_the_readme(tmp_path: Path, free_port: int) -> None:
    diffcdr(
        "synth", "--out", tmp_path, "--users", "200", "--items", "60", "--ratings-per-user", "12", "--format", "csv"
    )
    films = pl.read_csv(tmp_path / "films.csv")
    somebody = films["user_id"][0]
    films.with_columns(pl.col("user_id").replace(somebody, "ann")).write_csv(tmp_path / "films.csv")
    (tmp_path / "users.csv").write_text("user_id\nann\n")
    said = run("README.md", folder=tmp_path, port=free_port)
    assert said.count('"strategy":"transfer"') == 1
    assert pl.read_csv(tmp_path / "lists.csv")["user_id"].unique().to_list() == ["ann"]


def test_the_quickstart_and_then_the_tutorial(tmp_path: Path, free_port: int) -> None:
    said = run("docs/quickstart.md", "docs/tutorial.md", folder=tmp_path, port=free_port)
    strategies = re.findall(r"^(transfer|popular unknown_user|fold_in)$", said, flags=re.MULTILINE)
    assert strategies == ["transfer", "popular unknown_user", "fold_in"]
    answers = re.findall(r'"strategy":"(\w+)","fallback_reason":(\w+|"\w+")', said)
    assert answers == [("transfer", "null"), ("transfer", "null"), ("fold_in", "null"), ("popular", '"opted_out"')]


def named_options() -> Iterator[tuple[str, str, str]]:
    """Page, command and option, wherever a page shows a ``diffcdr`` command with options."""
    for page in texts(".md"):
        if page.name == "CHANGELOG.md":
            continue
        for command, rest in re.findall(
            r"\bdiffcdr ([a-z]+)\b([^`;|#\n]*(?:\\\n[^`;|#\n]*)*)", page.read_text("utf-8")
        ):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest):
                yield str(page.relative_to(ROOT)), command, option


def test_commands_and_options_that_pages_name_exist() -> None:
    entries = commands()
    known: dict[str, set[str]] = {}
    wrong = []
    for page, command, option in named_options():
        if command in entries and command not in known:
            params = load_command(entries[command]).params
            known[command] = {name for param in params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
        if option not in known.get(command, {option}):
            wrong.append(f"{page}: diffcdr {command} {option}")
    assert wrong == []
    assert {"train", "serve", "score", "rollout"} <= set(known)


@pytest.mark.parametrize(
    "page", [path for path in texts(".md") if path.name != "CHANGELOG.md"], ids=lambda path: path.name
)
def test_targets_of_make_that_pages_name_exist(page: Path) -> None:
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = re.findall(r"(?:`|^|    )make ((?:[a-z-]+ ?)+)(?=[`\n#\s]|$)", page.read_text("utf-8"), flags=re.MULTILINE)
    assert {word for words in named for word in words.split()[:1]} <= targets
