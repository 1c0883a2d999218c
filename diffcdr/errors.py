"""Every error this project raises on purpose, as one small tree.

    DiffCDRError
    ├── InputError        the caller's data, options or request cannot be used
    ├── BundleError       a bundle is missing, damaged, or of another schema
    ├── DeviceError       the asked-for compute device is not there
    └── MissingExtraError an optional dependency is not installed

A message says what happened, where, and what to do about it. Command-line programs print the message alone
and exit with ``exit_code``; a traceback therefore always means a defect of ours.
"""

from __future__ import annotations


class DiffCDRError(Exception):
    """Base of the tree. ``str(error)`` is a complete sentence for the person who ran the command."""

    exit_code = 1


class InputError(DiffCDRError):
    """The caller's data, options or request cannot be used as they are."""

    exit_code = 2


class BundleError(DiffCDRError):
    """A bundle is missing, damaged, or written by an incompatible version."""

    exit_code = 3


class DeviceError(DiffCDRError):
    """The asked-for compute device is not available."""

    exit_code = 4


class MissingExtraError(DiffCDRError):
    """A command needs an optional dependency that is not installed."""

    exit_code = 5

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed; run: pip install 'diffcdr[{extra}]'")
        self.extra = extra
