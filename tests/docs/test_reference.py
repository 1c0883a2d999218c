"""The reference pages are what the code says.

Not a unit test: the libraries write parts of these pages, and `make lowest` runs unit tests with other versions.
"""

from __future__ import annotations

import pytest

from scripts.reference.__main__ import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run: make reference"
