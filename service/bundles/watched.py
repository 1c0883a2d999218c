"""Decides when the bundle at a watched path is to be loaded: when it is new and complete, and again after a refusal."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from diffcdr.bundle.format import check_files, read_manifest
from diffcdr.errors import BundleError

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 10.0
"""How long after a refusal the same files are tried again; twice as long each time, as what was wrong may be here."""
LONGEST_RETRY_SECONDS = 600.0

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""What tells whether any file below a directory changed: name, inode, size, time of change and of content."""


class Seen:
    """What has been seen at ``path`` so far. Call its methods from any thread, one at a time."""

    def __init__(self, path: Path, served: str) -> None:
        """``served``: the id of the bundle that is served."""
        self._path = path
        self._served = served
        self._refused: Stamp | None = None
        self._delay = FIRST_RETRY_SECONDS
        self._again_at = 0.0
        self._incomplete: Stamp | None = None
        self._said = ""

    def look(self) -> Stamp | None:
        """The files of a bundle to load; None if nothing is new, or the bundle is not complete yet."""
        found = stamp(self._path)
        if found == self._refused and time.monotonic() < self._again_at:
            return None
        try:
            manifest, bundle_id = read_manifest(self._path)
            if bundle_id == self._served:
                self._refused = self._incomplete = None
                return None
            check_files(self._path, manifest, contents=False)
        except (BundleError, OSError, ValueError) as error:
            return self._wait_for_the_rest(found, str(error))
        return found

    def refused(self, found: Stamp) -> None:
        """Note a refusal: the bundle is tried again when a file changes, or after a while."""
        self._delay = min(2 * self._delay, LONGEST_RETRY_SECONDS) if found == self._refused else FIRST_RETRY_SECONDS
        self._refused, self._again_at = found, time.monotonic() + self._delay

    def served(self, bundle_id: str) -> None:
        """Note that this bundle is served now."""
        self._served, self._refused, self._incomplete, self._said = bundle_id, None, None, ""

    def _wait_for_the_rest(self, found: Stamp, why: str) -> Stamp | None:
        """Files that still arrive are waited for; what stands still and is not whole is refused by loading it."""
        if found and found == self._incomplete:
            return found
        self._incomplete = found
        if why != self._said:
            logger.info("what is published is not whole yet: %s", why)
        self._said = why
        return None


def stamp(path: Path) -> Stamp:
    """The state of the files below ``path``; those that cannot be read are left out."""
    found: list[tuple[str, int, int, int, int]] = []
    for folder, _, names in os.walk(path):
        for name in (*names, "."):
            try:
                status = os.stat(os.path.join(folder, name), follow_symlinks=True)
            except OSError:
                continue
            relative = os.path.relpath(os.path.join(folder, name), path)
            found.append((relative, status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns))
    return tuple(sorted(found))
