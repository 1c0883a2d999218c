"""Loading bundles beside the ones that serve: verify, warm, and only then show them to the registry."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from diffcdr.bundle import read_manifest
from diffcdr.errors import BundleError, DiffCDRError
from service.batcher import Batcher
from service.metrics import Metrics
from service.registry import Model, Registry, load_model, warm_queries
from service.settings import Settings

logger = logging.getLogger(__name__)


class LoadRefused(Exception):
    """The bundle cannot be served; everything is as it was."""


class LoadRunning(Exception):
    """Another bundle is being loaded at this moment."""

    def __init__(self) -> None:
        super().__init__("another bundle is being loaded; try again when it is done")


class Loader:
    """Brings bundles into a registry, one at a time."""

    def __init__(self, registry: Registry, batcher: Batcher, settings: Settings, metrics: Metrics) -> None:
        self._registry = registry
        self._batcher = batcher
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
            where = self._within_root(path)
            model = await asyncio.to_thread(
                load_model, where, device=self._settings.device, threads=self._settings.threads
            )
            await warm(self._batcher, model, batch_rows=self._settings.batch_rows)
        except DiffCDRError as error:
            self._registry.fail(path, str(error))
            self._metrics.loads.labels("refused").inc()
            logger.warning("bundle refused: %s", error)
            raise LoadRefused(str(error)) from error
        finally:
            self._running = False
        self._metrics.loads.labels("loaded").inc()
        model = self._registry.add(model)
        show(self._registry, self._metrics)
        logger.info("loaded", extra={"bundle": model.id, "device": model.device})
        return model

    async def watch(self, seconds: float) -> None:
        """For ever: load and activate what is published at ``settings.bundle``, looking every ``seconds`` seconds."""
        tried = self._registry.lineup.stable.id
        while True:
            await asyncio.sleep(seconds)
            try:
                _, found = await asyncio.to_thread(read_manifest, self._settings.bundle)
            except BundleError:
                # In the middle of being replaced by other means than ours; the next look will tell.
                continue
            if found == tried:
                continue
            tried = found
            try:
                self._registry.activate((await self.load(self._settings.bundle)).id)
            except (LoadRefused, LoadRunning) as error:
                logger.warning("the published bundle is not served: %s", error)
            show(self._registry, self._metrics)

    def _within_root(self, path: Path) -> Path:
        root = (self._settings.bundle_root or self._settings.bundle.absolute().parent).resolve()
        try:
            where = (root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise BundleError(f"{str(path)!r} is no usable path: {error}") from error
        if not where.is_relative_to(root):
            raise BundleError(f"{path} lies outside of the bundle root; publish it there, or set DIFFCDR_BUNDLE_ROOT")
        return where


def show(registry: Registry, metrics: Metrics) -> None:
    """Bring the bundle metric up to date with ``registry``."""
    metrics.bundle.clear()
    lineup = registry.lineup
    for model in lineup.all():
        labels = (model.id, model.manifest.model, lineup.state(model), model.device)
        metrics.bundle.labels(*labels).set(1)


async def warm(batcher: Batcher, model: Model, *, batch_rows: int) -> None:
    """Ask every kind of question in every bucket of batch sizes, so that no caller pays for first times."""
    queries = warm_queries(model)
    size = len(queries)
    while size < batch_rows:
        await batcher.recommend(model.recommender, queries)
        size = min(size * 4, batch_rows)
        queries = (queries * (-(-size // len(queries))))[:size]
    await batcher.recommend(model.recommender, queries[:batch_rows])
