"""``make openapi``: the service's OpenAPI document, as it serves it, into docs/reference/openapi.json."""

from __future__ import annotations

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reference" / "openapi.json"


def text() -> str:
    """The document as it is committed. Making the application needs no bundle; starting it does."""
    return json.dumps(create_app(Settings.read(bundle="none")).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text())
    print(f"wrote {DOCUMENT.relative_to(Path.cwd())}")
