"""``make reference``: the pages of ``docs/reference/`` that are made from the code. A test compares them.

python -m scripts.reference
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts import openapi, settings_page
from scripts.reference import commands, http, prometheus, python

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands.page,
    "http.md": http.page,
    "openapi.json": openapi.text,
    "prometheus.md": prometheus.page,
    "python.md": python.page,
    "settings.md": settings_page.page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
