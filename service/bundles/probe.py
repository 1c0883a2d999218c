"""Tries a bundle in a separate process before this one opens it.

What a bundle holds is believed only by the child: it may crash there, hang, or fill its memory, and is then given up.
What comes back is a word, or why the bundle is refused.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from diffcdr.bundle.check import check_sizes
from diffcdr.bundle.manifest import Manifest
from diffcdr.commands.inspect import shortfalls
from diffcdr.errors import BundleError, DiffCDRError
from diffcdr.recommend.recommender import Query, Recommendation
from service.bundles.registry import Model, load_model, warm_queries
from service.host_tuning import aside
from service.settings import Loading

PROBED_USERS = 64
FINE = "fine"
ROOM = 4 << 30
"""Memory that the child may take beyond four times the bundle's files."""


async def probe(path: Path, loading: Loading, *, seconds: float) -> None:
    """Try the bundle at ``path``, as it would be loaded but on the CPU.

    Raises:
        BundleError: it cannot be served, or that was not known after ``seconds``.
    """
    child = _Child(path, loading)
    try:
        verdict, status = await aside(partial(child.run, seconds))
    except subprocess.TimeoutExpired:
        raise BundleError(
            f"bundle {path} was not loaded within {seconds:g} s (DIFFCDR_LOAD_SECONDS) and loading was abandoned"
        ) from None
    finally:
        child.kill()
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise BundleError(verdict or f"bundle {path} crashed the process that tested it, with {how}")


class _Child:
    """The process. :meth:`run` it on a thread; it may be killed from another."""

    def __init__(self, path: Path, loading: Loading) -> None:
        self._asked = json.dumps({"path": str(path), **loading, "device": "cpu", "search_device": "cpu"})
        self._process: subprocess.Popen[str] | None = None
        self._killed = False

    def run(self, seconds: float) -> tuple[str, int]:
        """What it said and its status. Raises TimeoutExpired."""
        command = [sys.executable, "-P", "-m", "service.bundles.probe", self._asked]
        nothing = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, text=True) as process:
            self._process = process
            try:
                # Whoever asked may have left before there was anything to kill.
                if self._killed:
                    process.kill()
                return process.communicate(timeout=seconds)[0].strip(), process.returncode
            finally:
                process.kill()

    def kill(self) -> None:
        """Let go of it, wherever it is."""
        self._killed = True
        if self._process is not None:
            self._process.kill()


def check_model(model: Model) -> None:
    """Query ``model`` on every path and check that each answer could be sent. Raises BundleError."""
    manifest, bundle = model.manifest, model.bundle
    _check_manifest(manifest, path=bundle.path)
    check_sizes(bundle)
    ids = bundle.source_users.ids
    step = max(1, len(ids) // PROBED_USERS)
    known = [Query(ids[row]) for row in range(0, len(ids), step)]
    first = model.recommender.answer([*warm_queries(model), *known])
    second = model.recommender.answer([*warm_queries(model), *known])
    if first != second:
        raise BundleError(f"bundle {bundle.path} answers the same query differently; train it again")
    for answer in first:
        if not isinstance(answer, Recommendation) or not np.isfinite(answer.scores).all():
            raise BundleError(f"bundle {bundle.path} gives scores that are not finite; train it again")
    for query, answer in zip(known, first[-len(known) :], strict=True) if known else ():
        if isinstance(answer, Recommendation) and answer.strategy == "popular":
            raise BundleError(
                f"bundle {bundle.path} has no usable vector for its own user {query.user_id!r}; train it again"
            )
    vectors = model.recommender.sampled_vectors(PROBED_USERS)
    if vectors.shape[1:] != (manifest.transfer.target_dim,):
        raise BundleError(f"the transfer of bundle {bundle.path} gives {vectors.shape[1:]} numbers; publish it again")


def _check_manifest(manifest: Manifest, *, path: Path) -> None:
    limits = manifest.scoring.rating_range
    if limits is not None and not limits[0] < limits[1]:
        raise BundleError(f"the rating range of bundle {path} is empty; publish it again")
    shortfalls(manifest)
    counts, tables = manifest.counts, manifest.files
    if min(counts.source_users, counts.source_items, counts.target_users, counts.target_items) < 0 or not tables:
        raise BundleError(f"the counts of bundle {path} are below zero; publish it again")


def _main(asked: str) -> int:
    wanted = json.loads(asked)
    path = Path(wanted.pop("path"))
    try:
        size = sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
        resource.setrlimit(resource.RLIMIT_AS, (4 * size + ROOM,) * 2)
        check_model(load_model(path, **wanted))
    except DiffCDRError as error:
        print(error)
        return 1
    except Exception as error:
        print(f"bundle {path} cannot be served: {type(error).__name__}: {error}")
        return 1
    print(FINE)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
