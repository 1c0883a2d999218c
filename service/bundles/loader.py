"""Loads bundles while others serve: verify, warm up, and only then hand over to the registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from diffcdr.bundle.format import read_manifest
from diffcdr.errors import BundleError, DiffCDRError
from service.bundles.probe import probe
from service.bundles.registry import Lineup, Model, Registry, load_model, warm_queries
from service.bundles.shared_lineup import FOLLOW_SECONDS, LineupFile, LineupRecord
from service.bundles.watched import Seen
from service.host_tuning import aside, give_back
from service.metrics import Metrics
from service.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LoadRefused(Exception):
    """The bundle cannot be served; nothing has changed."""


class LoadRunning(Exception):
    """Another bundle is being loaded."""

    def __init__(self) -> None:
        super().__init__("another bundle is being loaded; try again when it is done")


class Loader:
    """Loads bundles into a registry, one at a time."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        metrics: Metrics,
        *,
        shared: LineupFile | None = None,
    ) -> None:
        """``shared``: the lineup of all workers, where there are several."""
        self._shared = shared
        self._changing = asyncio.Lock()
        self._behind = False
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._running = False
        show(registry, metrics)

    async def load(self, path: Path) -> Model:
        """The model of the bundle at ``path``, ready and without anything to do yet.

        Raises:
            LoadRefused: it lies outside the bundle root, or is missing, damaged or not servable here.
            LoadRunning: one is being loaded already.
        """
        if self._running:
            raise LoadRunning
        self._running = True
        try:
            model = await self._tried(self._within_root(path))
        except Exception as error:
            known = isinstance(error, DiffCDRError)
            reason = str(error) if known else f"it cannot be loaded: {type(error).__name__}: {error}"
            self._metrics.loads.labels("refused").inc()
            logger.warning("bundle refused: %s", reason, exc_info=None if known else error)
            await self.change(lambda registry: registry.fail(self._shown(path), self._without_root(reason)))
            raise LoadRefused(reason) from error
        finally:
            self._running = False
        self._metrics.loads.labels("loaded").inc()
        model = await self.change(lambda registry: registry.add(model))
        logger.info("loaded", extra=model.log_fields)
        return model

    @property
    def behind(self) -> bool:
        """Whether the other workers have an active model that cannot be loaded here."""
        return self._behind

    async def change(self, apply: Callable[[Registry], T]) -> T:
        """Change the lineup by ``apply(registry)``, here and in every other worker; what it returns."""
        async with self._changing:
            if self._shared is None:
                result = apply(self._registry)
            else:
                async with self._shared.locked():
                    await self._take_over(self._shared)
                    result = apply(self._registry)
                    self._write(self._shared)
            show(self._registry, self._metrics)
            return result

    async def begin(self) -> None:
        """Join the other workers: adopt their lineup, or write the first one."""
        await self.change(lambda registry: None)

    async def follow(self) -> None:
        """Run for ever: adopt what other workers change."""
        while self._shared is not None:
            await asyncio.sleep(FOLLOW_SECONDS)
            if self._shared.changed():
                async with self._changing:
                    await self._take_over(self._shared)
                    show(self._registry, self._metrics)

    async def _tried(self, path: Path) -> Model:
        """The model at ``path``, after a process of its own has tried it out. Raises BundleError, or anything else."""
        seconds = self._settings.load_seconds
        try:
            # A path without a bundle is refused at once: the process would take a second to say so.
            await asyncio.wait_for(aside(partial(read_manifest, path)), seconds)
            await probe(path, self._settings.loading, seconds=seconds)
            return await asyncio.wait_for(self._open(path), seconds)
        except TimeoutError:
            raise BundleError(f"bundle {path} was not loaded within {seconds:g} s and loading was abandoned") from None

    async def _open(self, path: Path) -> Model:
        def opened() -> Model:
            model = load_model(path, **self._settings.loading)
            model.recommender.health.listen(self._metrics.count_device_failure)
            model.compile()
            warm(model, batch_rows=self._settings.batch_rows)
            # Hashing, opening and warming leave much that is free, and so did the bundle that was let go last.
            give_back()
            return model

        return await aside(opened)

    async def _take_over(self, shared: LineupFile) -> None:
        record = shared.read() if shared.changed() else None
        if record is None:
            return
        models: dict[str, Model] = {}
        for held in record.models:
            try:
                model = self._registry.lineup.models.get(held.id) or await self._open(held.path)
            except Exception as error:
                logger.error("a bundle that another worker serves cannot be loaded: %s", error)
                continue
            if model.id == held.id:
                models[held.id] = replace(model, loaded_at=held.loaded_at)
            else:
                logger.error("another worker serves %s, which is not at %s any more", held.id, held.path)
        self._behind = record.stable not in models
        if self._behind:
            return
        traffic = record.traffic
        for missing in {held.id for held in record.models} - set(models):
            traffic = traffic.without(missing)
        previous = models.get(record.previous) if record.previous else None
        lineup = Lineup(models[record.stable], previous=previous, traffic=traffic, models=models)
        self._registry.arrange(lineup, record.failures)

    def _write(self, shared: LineupFile) -> None:
        if not self._behind:
            failures = tuple(reversed(self._registry.failures))
            shared.write(LineupRecord.of(self._registry.lineup, failures))

    async def watch(self, seconds: float) -> None:
        """Run for ever: every ``seconds`` seconds, load and activate what was published at ``settings.bundle``."""
        seen = Seen(self._settings.bundle, self._registry.lineup.stable.id)
        while True:
            await asyncio.sleep(seconds)
            found = await aside(seen.look)
            if found is None:
                continue
            try:
                model_id = (await self.load(self._settings.bundle)).id
                await self.change(partial(Registry.activate, model_id=model_id))
            except LoadRunning as error:
                logger.warning("the published bundle is not served yet: %s", error)
            except LoadRefused as error:
                seen.refused(found)
                logger.warning("the published bundle is not served: %s", error)
            else:
                seen.served(model_id)

    def _root(self) -> Path:
        return (self._settings.bundle_root or self._settings.bundle.absolute().parent).resolve()

    def _shown(self, path: Path) -> Path:
        """``path`` as readers may see it: what lies around the bundle root is none of their business."""
        where = self._root() / path
        return where.relative_to(self._root()) if where.is_relative_to(self._root()) else Path(where.name)

    def _without_root(self, reason: str) -> str:
        for root in {str(self._root()), str(self._settings.bundle.absolute().parent)}:
            reason = reason.replace(f"{root}/", "")
        return reason

    def _within_root(self, path: Path) -> Path:
        root = self._root()
        try:
            where = (root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise BundleError(f"{str(path)!r} is not a usable path: {error}") from error
        if not where.is_relative_to(root):
            raise BundleError(f"{path} is outside the bundle root; publish it there, or set DIFFCDR_BUNDLE_ROOT")
        return where


def show(registry: Registry, metrics: Metrics) -> None:
    """Bring the bundle metric up to date with ``registry``."""
    lineup = registry.lineup
    metrics.bundles.show(
        [(model.id, model.manifest.model, lineup.state(model), *_where(model)) for model in lineup.all()]
    )


def _where(model: Model) -> tuple[str, str, str, str]:
    placement = model.recommender.placement
    return placement.device, placement.provider, placement.version, model.recommender.search_device


def warm(model: Model, *, batch_rows: int) -> None:
    """Run every kind of query at every bucket of batch sizes, so that no caller pays for a first call."""
    queries = warm_queries(model)
    size = len(queries)
    while size < batch_rows:
        model.recommender.answer(queries)
        size = min(size * 4, batch_rows)
        queries = (queries * (-(-size // len(queries))))[:size]
    model.recommender.answer(queries[:batch_rows])
