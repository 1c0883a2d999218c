"""Which bundles are loaded, and which of them answers which user.

Every model is whole: opened, verified and warmed before it stands here, and held by each request from its start to
its end, so that a swap changes nothing under a request's feet. All changes happen on the event loop.

    loaded --activate--> stable --(another is activated)--> previous --roll_back--> stable
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import Manifest
from diffcdr.bundle.reader import Bundle, SourceUsers, open_bundle
from diffcdr.device.names import Device
from diffcdr.recommend.paging import PAGED
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.recommend.similar_items import SimilarItems
from diffcdr.search.approximate import check_recall
from service.bundles.traffic_split import Traffic

State = Literal["stable", "previous", "canary", "shadow", "loaded"]

MAX_K = PAGED
"""Longest list anyone may ask for, page by page or at once."""
COMPILED_ITEMS = 10_000
"""From how many items on it pays to load compiled search loops, where there are any: half a second, once."""
MAX_MODELS = 4
"""Most models held at once; loading one more lets go of the oldest that has no part to play."""
MAX_FAILURES = 10


class ModelUnknown(Exception):
    """No loaded model has this id."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"model {model_id} is not loaded; /v1/models lists those that are")


class NothingToRollBack(Exception):
    """No model was active before the present one."""

    def __init__(self) -> None:
        super().__init__("no model was active before this one; activate one of /v1/models instead")


@dataclass(frozen=True)
class Model:
    """A loaded bundle and everything that is derived from it once."""

    recommender: Recommender
    popular: Recommendation
    """The popular list, ``MAX_K`` long or as long as there are items."""
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
        """Where the transfer runs now: ``cpu`` or ``cuda:N``."""
        return self.recommender.device

    @property
    def log_fields(self) -> dict[str, str]:
        """Fields of a log line about this model: bundle, device, provider and its version."""
        placement = self.recommender.placement
        return {
            "bundle": self.id,
            "device": placement.device,
            "provider": f"{placement.provider} {placement.version}".strip(),
            "search_device": self.recommender.search_device,
        }

    @cached_property
    def _similar(self) -> dict[str, SimilarItems]:
        return {}

    def similar(self, domain: Literal["source", "target"]) -> SimilarItems:
        """Finds items of ``domain`` that are alike; the first call looks at all of them, some tenths of a second."""
        if domain not in self._similar:
            table = self.bundle.source_items if domain == "source" else self.bundle.target_items
            self._similar[domain] = SimilarItems(table.vectors)
        return self._similar[domain]

    def source_items_among_targets(self) -> SimilarItems | None:
        """Finds source items where they lie among target items; None if the bundle has no rule for it.

        The first call transfers every source item.
        """
        if "across" not in self._similar:
            vectors = self.recommender.source_item_vectors(np.arange(len(self.bundle.source_items.ids)))
            if vectors is None:
                return None
            self._similar["across"] = SimilarItems(vectors)
        return self._similar["across"]

    def compile(self) -> None:
        """Load compiled search loops where there are any and the items are many; no list is another for it."""
        if len(self.bundle.target_items.ids) >= COMPILED_ITEMS:
            self.recommender.compile()


@dataclass(frozen=True)
class LoadFailure:
    """A bundle that was refused, and why. Nothing else changed."""

    path: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class Lineup:
    """The loaded models and their roles. Never changed, only replaced as a whole."""

    stable: Model
    previous: Model | None = None
    traffic: Traffic = field(default_factory=Traffic)
    models: Mapping[str, Model] = field(default_factory=dict)
    """Every loaded model by its id, ``stable`` among them."""

    def all(self) -> list[Model]:
        """Every loaded model, the active one first."""
        return [self.stable, *(model for model in self.models.values() if model is not self.stable)]

    def state(self, model: Model) -> State:
        """The role of ``model``."""
        if model is self.stable:
            return "stable"
        if model.id == self.traffic.canary:
            return "canary"
        if model.id == self.traffic.shadow:
            return "shadow"
        return "previous" if model is self.previous else "loaded"

    def find(self, model_id: str) -> Model:
        """The model called ``model_id``. Raises ModelUnknown."""
        try:
            return self.models[model_id]
        except KeyError:
            raise ModelUnknown(model_id) from None

    def choose(self, model_id: str | None, user_id: str | None) -> Model:
        """The model that answers: the one named, else the canary for its users, else the active one.

        Raises ModelUnknown.
        """
        if model_id is not None:
            return self.find(model_id)
        if self.traffic.canary is not None and user_id is not None and self.traffic.takes(user_id):
            return self.models[self.traffic.canary]
        return self.stable


class Registry:
    """Changes the lineup. For a consistent view, keep :attr:`lineup`, which also keeps its models loaded."""

    def __init__(self, stable: Model) -> None:
        self._lineup = Lineup(stable, models={stable.id: stable})
        self._failures: deque[LoadFailure] = deque(maxlen=MAX_FAILURES)

    @property
    def lineup(self) -> Lineup:
        """The present models and their roles."""
        return self._lineup

    @property
    def failures(self) -> list[LoadFailure]:
        """The last refused bundles, newest first."""
        return list(reversed(self._failures))

    def add(self, model: Model) -> Model:
        """Add a warmed-up model without a role; returns the one already loaded if it has the same id."""
        lineup = self._lineup
        if model.id in lineup.models:
            return lineup.models[model.id]
        models = dict(lineup.models)
        idle = [held for held in models.values() if lineup.state(held) == "loaded"]
        if len(models) >= MAX_MODELS and idle:
            del models[min(idle, key=lambda held: held.loaded_at).id]
        models[model.id] = model
        self._lineup = replace(lineup, models=models)
        return model

    def fail(self, path: Path, reason: str) -> None:
        """Note that the bundle at ``path`` was refused. The same refusal is listed once."""
        for known in [known for known in self._failures if (known.path, known.reason) == (str(path), reason)]:
            self._failures.remove(known)
        self._failures.append(LoadFailure(str(path), reason, datetime.now(UTC)))

    def activate(self, model_id: str) -> Model:
        """Make the model called ``model_id`` stable; as canary or shadow it has arrived. Raises ModelUnknown."""
        lineup = self._lineup
        model = lineup.find(model_id)
        if model is not lineup.stable:
            traffic = lineup.traffic.without(model_id)
            self._lineup = replace(lineup, stable=model, previous=lineup.stable, traffic=traffic)
        return model

    def roll_back(self) -> Model:
        """Make the previously active model active again. Raises NothingToRollBack."""
        if self._lineup.previous is None:
            raise NothingToRollBack
        return self.activate(self._lineup.previous.id)

    def split(self, traffic: Traffic) -> None:
        """Route part of the users to a canary, and copy part of the queries to a shadow. Raises ModelUnknown."""
        for named in (traffic.canary, traffic.shadow):
            if named is not None:
                self._lineup.find(named)
        self._lineup = replace(self._lineup, traffic=traffic)

    def arrange(self, lineup: Lineup, failures: Sequence[LoadFailure]) -> None:
        """Adopt a whole lineup and the refused bundles, oldest first."""
        self._lineup = lineup
        self._failures = deque(failures, maxlen=MAX_FAILURES)


def load_model(
    path: Path,
    *,
    device: Device,
    threads: int,
    search_device: Device = "auto",
    own_vectors: bool = True,
    recall_floor: float = 0.0,
) -> Model:
    """Open the bundle at ``path``, check every hash, and load what it serves with.

    Without ``own_vectors`` the bundle's source users are not looked at: their vectors come with the queries.

    Raises:
        BundleError: the bundle is missing, damaged or of another version, or its item index finds less than
            ``recall_floor`` of the exact best 20.
        DeviceError: ``device`` or ``search_device`` names a GPU that cannot be used.
    """
    bundle = open_bundle(path)
    check_recall(bundle.manifest.search, recall_floor, bundle=path)
    if not own_vectors:
        nobody = SourceUsers(IdTable.build(()), np.empty((0, bundle.manifest.transfer.source_dim), dtype=np.float32))
        bundle = replace(bundle, source_users=nobody)
    recommender = Recommender(bundle, device=device, threads=threads, search_device=search_device)
    return Model(recommender, popular=recommender.popular(MAX_K))


def warm_queries(model: Model) -> list[Query]:
    """One query for every path that this bundle has through the recommender."""
    bundle = model.bundle
    queries = [Query(None), Query("\x00"), Query(None, personalise=False)]
    queries += [Query(table[0], k=MAX_K) for table in (bundle.source_users.ids, bundle.target_users.ids) if len(table)]
    if not len(bundle.source_users.ids):
        queries.append(Query(None, source_vector=np.zeros(bundle.manifest.transfer.source_dim, dtype=np.float32)))
    if len(bundle.source_items.ids):
        queries.append(Query(None, history=((bundle.source_items.ids[0], 5.0),)))
    return queries
