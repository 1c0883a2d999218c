"""``diffcdr`` in this process: what it imports, torch above all, is loaded once for all tests."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from diffcdr.cli import main


def run(*arguments: object) -> int:
    """The exit code of ``diffcdr arguments``."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def said(*arguments: object) -> str:
    """What ``diffcdr arguments`` shows on both streams; it has to end well."""
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown), pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        code = run(*arguments)
    assert code == 0, shown.getvalue()
    return shown.getvalue()
