"""Cross-domain recommendations in Python: load a bundle and ask it.

    import diffcdr

    recommender = diffcdr.load("bundles/books")
    recommender.recommend("ann", k=20)             # one user: items with ids, titles and scores; the strategy
    recommender.recommend_many(["ann", "bob"])     # many users: a table
    recommender.embed(["ann"])                     # target vectors
    recommender.user_ids(new=True)                 # users without target ratings

Needs NumPy, polars, pydantic and, for bundles whose transfer does not fold, ONNX Runtime. No torch, no web framework,
no database client. The client of the service is :mod:`diffcdr.client`; training is the package ``training``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diffcdr.errors import BundleError, DeviceError, DiffCDRError, InputError, MissingExtraError

if TYPE_CHECKING:
    from diffcdr.device.names import Device
    from diffcdr.recommend.query import Explanation, ListedItem, Query, Recommendation, SourceShare
    from diffcdr.recommend.recommender import Recommender

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "DeviceError",
    "DiffCDRError",
    "Explanation",
    "InputError",
    "ListedItem",
    "MissingExtraError",
    "Query",
    "Recommendation",
    "Recommender",
    "SourceShare",
    "load",
]

_HOMES: Final = {
    "Explanation": "diffcdr.recommend.query",
    "ListedItem": "diffcdr.recommend.query",
    "Query": "diffcdr.recommend.query",
    "Recommendation": "diffcdr.recommend.query",
    "Recommender": "diffcdr.recommend.recommender",
    "SourceShare": "diffcdr.recommend.query",
}
"""Imported when first asked for: the command line starts without them."""


def load(bundle: str | Path, *, device: Device = "auto", verify: bool = True) -> Recommender:
    """Open the bundle in the directory ``bundle``.

    >>> import diffcdr
    >>> recommender = diffcdr.load("bundles/books")
    >>> recommender.bundle.manifest.model
    'diffcdr'

    Args:
        bundle: what ``diffcdr train --bundle`` or ``training.fit(…).publish(…)`` wrote.
        device: where a transfer that does not fold runs: ``auto``, ``cpu`` or ``cuda``.
        verify: compare the SHA-256 of every file with the manifest's (reads all of them).

    Raises:
        BundleError: there is no bundle, or it is damaged.
        DeviceError, MissingExtraError: the device, or the package it needs, is not there.
    """
    from diffcdr.bundle.reader import open_bundle  # noqa: PLC0415 - as the names above
    from diffcdr.recommend.recommender import Recommender  # noqa: PLC0415

    return Recommender(open_bundle(Path(bundle), verify=verify), device=device)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'diffcdr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
