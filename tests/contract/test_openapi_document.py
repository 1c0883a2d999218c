"""The committed OpenAPI document, which people read and generate clients from, is the application's."""

from __future__ import annotations

import json

from scripts.openapi import DOCUMENT, text


def test_the_committed_document_is_what_the_service_serves() -> None:
    committed = json.loads(DOCUMENT.read_text())
    assert committed == json.loads(text()), "the API has changed; run: make openapi"
