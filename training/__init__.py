"""From rating files to a published bundle, offline. Imports diffcdr, never service.

from training import fit

fit("films.csv", "books.csv", preset="ranking").publish("bundles/books")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.train import Trained, fit

__all__ = ["Trained", "fit"]


def __getattr__(name: str) -> Any:
    """Torch is imported when training is asked for, not with the first module of the package."""
    if name in __all__:
        return getattr(import_module("training.train"), name)
    raise AttributeError(f"module 'training' has no attribute {name!r}")
