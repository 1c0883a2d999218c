"""Every file of the repository that a text of the repository names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "bench",
    "deploy",
    "diffcdr",
    "docs",
    "examples",
    "scripts",
    "service",
    "tests",
    "training",
    ".github",
    ".ci",
)
TEXTS = {".md", ".py", ".toml", ".yml", ".yaml", ".conf", ".js", ".sh", ".ipynb", ""}
NAMED = re.compile(r"(?<![\w./-])((?:bench|deploy|diffcdr|docs|examples|scripts|service|tests|training)/[\w./-]*\w)")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def texts(*suffixes: str) -> Iterator[Path]:
    """The files of the repository with these suffixes, without what is built."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in suffixes)
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in suffixes)


def test_pages_that_code_and_texts_name_are_there() -> None:
    lost = []
    for path in texts(*TEXTS):
        for name in re.findall(r"(?<![\w./-])docs/[\w./-]*\w\.(?:md|svg|png|json|jsonl)\b", path.read_text("utf-8")):
            if not (ROOT / name).is_file():
                lost.append(f"{path.relative_to(ROOT)}: {name}")
    assert lost == []


def test_code_that_pages_name_is_there() -> None:
    lost = []
    for path in texts(".md"):
        for code in re.findall(r"`([^`\n]+)`", path.read_text("utf-8")):
            for name in NAMED.findall(code):
                if not any((ROOT / name).parent.glob(f"{Path(name).name}*")):
                    lost.append(f"{path.relative_to(ROOT)}: {name}")
    assert lost == []


@pytest.mark.parametrize(
    "page", [path for path in texts(".md") if "docs" not in path.parts], ids=lambda path: path.name
)
def test_links_outside_of_the_site_lead_somewhere(page: Path) -> None:
    """Those of the site are checked where it is built (scripts/docs_site.py)."""
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
