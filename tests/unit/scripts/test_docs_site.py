"""The check of the built documentation finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs_site import faults, navigation_faults

OTHER = '<h2 id="there">There</h2>'


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="other.html#there">fine</a> <a href="https://example.org">fine</a> <img src="a.svg">', []),
        ('<a href="gone.html">x</a>', ["page.html names gone.html, which is not there"]),
        ('<a href="other.html#gone">x</a>', ["page.html names other.html#gone, and that page has no such heading"]),
        ('<a href="#gone">x</a>', ["page.html names #gone, and that page has no such heading"]),
        ('<img src="gone.png">', ["page.html names gone.png, which is not there"]),
        ('<script src="https://cdn.test/x.js">', ["page.html would request https://cdn.test/x.js from another host"]),
        ('<link href="//cdn.test/x.css">', ["page.html would request //cdn.test/x.css from another host"]),
    ],
)
def test_a_page(html: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html)
    (tmp_path / "other.html").write_text(OTHER)
    (tmp_path / "a.svg").touch()
    assert list(faults(tmp_path)) == said


def test_a_style_sheet_that_fetches_fonts(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('@import url("https://fonts.test/a.css");')
    assert list(faults(tmp_path)) == ["a.css would request something from another host"]


def test_the_navigation_and_the_pages_are_the_same(tmp_path: Path) -> None:
    for name in ("index.md", "a/one.md", "a/two.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(navigation_faults(tmp_path, ["index.md", {"A": ["a/one.md", {"Two": "a/two.md"}]}])) == []
    assert list(navigation_faults(tmp_path, ["index.md", "gone.md", {"A": ["a/one.md", "a/one.md"]}])) == [
        "zensical.toml names gone.md, which is not there",
        "zensical.toml leaves a/two.md out of the navigation",
        "zensical.toml names a/one.md twice",
    ]
