"""The settings reference is what the code says."""

from __future__ import annotations

from scripts.settings_page import page, sections
from service.settings import Settings


def test_every_setting_is_there_once_and_the_service_s_have_a_meaning() -> None:
    text = page()
    for name in Settings.model_fields:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `DIFFCDR_{name.upper()}` |")]
        assert not row.endswith("|  |"), name
    for section, kind, model in sections():
        for name in model.model_fields:
            assert text.count(f"| `{section}.{name}` |") >= 1, (section, kind, name)
