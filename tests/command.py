"""``diffcdr`` in this process: what it imports, torch above all, is loaded once for all tests."""

from __future__ import annotations

from diffcdr.cli import main


def run(*arguments: object) -> int:
    """The exit code of ``diffcdr arguments``."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
