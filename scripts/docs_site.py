"""``make docs``: the documentation as a site in ``build/site``, checked.

python -m scripts.docs_site

Zensical in strict mode refuses links to pages and headings that are not there. What it does not look at is checked
here on the built pages: files and pictures, pages that the navigation leaves out or names in vain, and anything that a
browser would request from another host.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "zensical.toml"
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
LOADING = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}
"""Attributes whose address a browser requests by itself; a link's only where somebody follows it."""


class References(HTMLParser):
    """The addresses of one page: what it loads, what it links to, and the ids that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what ``attrs`` of ``tag`` point to."""
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif value and (tag, name) in LOADING and ("rel", "canonical") not in attrs:
                self.loads.append(value)
            elif value and (tag, name) == ("a", "href"):
                self.links.append(value)


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the built pages below ``site``, a sentence each."""
    pages = {path: References(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loads:
            if urlsplit(address).netloc:
                yield f"{name} would request {address} from another host"
        if name.name == "404.html":
            continue  # made by the theme for the root of a server
        for address in (*page.loads, *page.links):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file():
                yield f"{name} names {address}, which is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                yield f"{name} names {address}, and that page has no such heading"
    for path in sorted(site.rglob("*.css")):
        if "@import url(http" in (text := path.read_text(encoding="utf-8")) or "url(http" in text.replace('"', ""):
            yield f"{path.relative_to(site)} would request something from another host"


def navigation_faults(docs: Path, navigation: list[Any]) -> Iterator[str]:
    """Pages that ``navigation`` leaves out, names in vain, or names twice."""
    named = list(_pages(navigation))
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    yield from (f"zensical.toml names {page}, which is not there" for page in named if page not in there)
    yield from (f"zensical.toml leaves {page} out of the navigation" for page in sorted(there.difference(named)))
    yield from (f"zensical.toml names {page} twice" for page in sorted(set(named)) if named.count(page) > 1)


def _pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(part)


def main() -> int:
    """Build and check; the exit status."""
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [str(zensical), "build", "--strict", "--clean"], cwd=ROOT, check=False, stderr=subprocess.PIPE
    )
    if built.returncode != 0:
        # What it found comes first, then a traceback that says nothing more.
        print(built.stderr.decode().partition("Traceback")[0], file=sys.stderr)
        return 1
    config = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    found = [*navigation_faults(DOCS, config["project"]["nav"]), *faults(SITE)]
    for fault in found:
        print(fault, file=sys.stderr)
    pages = len(list(SITE.rglob("*.html")))
    print(f"{pages} pages in {SITE.relative_to(ROOT)}: {'nothing' if not found else f'{len(found)} things'} to mend")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
