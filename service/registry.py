"""Which bundle answers: opened, verified, warmed, and held whole for as long as a request uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from diffcdr.bundle import Bundle, open_bundle
from diffcdr.manifest import Manifest
from diffcdr.recommender import Query, Recommendation, Recommender
from diffcdr.transfer import Device

State = Literal["stable"]

MAX_K = 100
"""Longest list anyone may ask for."""


@dataclass(frozen=True)
class Model:
    """A loaded bundle and everything that is worked out from it once."""

    recommender: Recommender
    popular: Recommendation
    """The popular list, ``MAX_K`` long or as long as there are items."""
    state: State = "stable"
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """The bundle id."""
        return self.bundle.id

    @property
    def bundle(self) -> Bundle:
        """The open bundle."""
        return self.recommender.bundle

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def device(self) -> str:
        """Where the transfer runs: ``cpu`` or ``cuda``."""
        return self.recommender.device


class Registry:
    """The loaded models. A request takes one model at its start and keeps it to its end."""

    def __init__(self, stable: Model) -> None:
        self._stable = stable

    @property
    def stable(self) -> Model:
        """What answers unless a request names another model."""
        return self._stable

    def all(self) -> list[Model]:
        """Every loaded model, the stable one first."""
        return [self._stable]

    def find(self, model_id: str | None) -> Model | None:
        """The model called ``model_id``, the stable one for None; None if it is not loaded."""
        if model_id is None or model_id == self._stable.id:
            return self._stable
        return None


def load_model(path: Path, *, device: Device, threads: int) -> Model:
    """Open the bundle at ``path``, check every hash, and load what it serves with.

    Raises:
        BundleError: the bundle is missing, damaged or of another version.
        DeviceError: ``device`` is ``cuda`` and there is none.
    """
    recommender = Recommender(open_bundle(path), device=device, threads=threads)
    return Model(recommender, popular=recommender.popular(MAX_K))


def warm_queries(model: Model) -> list[Query]:
    """One query for every path through the recommender that this bundle has."""
    bundle = model.bundle
    queries = [Query(None), Query("\x00"), Query(None, personalise=False)]
    queries += [Query(table[0], k=MAX_K) for table in (bundle.source_users.ids, bundle.target_users.ids) if len(table)]
    if len(bundle.source_items.ids):
        queries.append(Query(None, history=((bundle.source_items.ids[0], 5.0),)))
    return queries
