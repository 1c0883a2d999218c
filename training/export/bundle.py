"""From a fitted model to a published bundle: the transfer, its tables, and the manifest.

``target_users`` are the users with target *training* ratings. A held-out user is known to the source tables alone,
as a cold-start user is; their target ratings reach nothing in the bundle but the metrics in its manifest.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffcdr import __version__
from diffcdr.atomic import reserving
from diffcdr.bundle.format import INDEX_FILE
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import (
    Counts,
    LikesSpec,
    Manifest,
    Paired,
    Provenance,
    ScoringSpec,
    SearchSpec,
    SparseSpec,
    TransferSpec,
    Tuning,
)
from diffcdr.bundle.neighbours import NEIGHBOURS_FOLDER, TABLES, NeighbourTables
from diffcdr.bundle.writer import BundleWriter
from diffcdr.errors import InputError
from diffcdr.installation import library_versions
from diffcdr.search.build_index import MEASURED_USERS, IndexOptions, build_index
from training.config import TrainConfig
from training.data.domains import DomainPair
from training.evaluation.evaluate import Metrics
from training.evaluation.paired import paired_difference
from training.export.onnx import export_transfer
from training.export.user_map import draw_map, source_history
from training.models.contract import TransferModel
from training.models.registry import section_of
from training.models.sparse_term import SparseTerm, source_histories
from training.run.finish import FinishedModel
from training.run.fit import FittedModel
from training.run.run import step_generator

STEPS = ("warm start", "export and compare", "tables", "map of users and items", "hashes")
"""What publishing a model does, in this order; the first comes before :func:`publish_bundle`."""
LIBRARIES = ("diffcdr", "numpy", "onnx", "onnxruntime", "polars", "torch")
"""Modules whose distributions and versions the manifest names; of ONNX Runtime there may be none."""


@dataclass(frozen=True)
class RunFacts:
    """What the manifest records of the run besides the data: its settings and its metrics."""

    preset: str
    config: TrainConfig
    seed: int
    rating_range: tuple[float, float]
    metrics: Mapping[str, Mapping[str, Metrics]]
    """[scope][model]; scope is ``validation`` or ``test``. Every model of the run, the published one among them."""
    tuning: Mapping[str, Tuning] = field(default_factory=dict)
    """What was tried for the models whose settings were chosen from grids."""
    selected_by: str | None = None
    """The validation figure that chose the published model; None where it was named."""
    favoured: str | None = None
    """The model that is published unless another has a better figure by one standard error; None: none was."""
    histories: bool = True
    """Whether the bundle is to hold who rated what in the source domain, for people to look at."""
    index: IndexOptions | None = None
    """When items are to be searched by an approximate index; None: never."""


def check_destination(path: Path) -> None:
    """Check before any work that a bundle can be written to ``path``. Raises InputError if not."""
    with BundleWriter(path):
        pass


@contextmanager
def reserving_space(path: Path, pair: DomainPair, *, histories: bool) -> Iterator[Callable[[], None]]:
    """Keep room on the disk for the bundle at ``path`` until the function is called: training begins with it, or not.

    What is kept is the least that a bundle of ``pair`` takes.

    Raises:
        InputError: there is not so much room.
    """
    tables = [table for domain in (pair.source, pair.target) for table in (domain.users, domain.items)]
    size = sum(table.array.nbytes + _LEAST_VECTOR_BYTES * len(table) for table in tables)
    size += _SEEN_BYTES * len(pair.target.ratings) + (_HISTORY_BYTES * len(pair.source.ratings) if histories else 0)
    with ExitStack() as stack:
        try:
            release = stack.enter_context(reserving(path.resolve().parent, size))
        except OSError as error:
            raise InputError(
                f"cannot write the bundle to {path}, which takes {size / 1e6:,.1f} MB or more: {error.strerror}; free "
                "some space or choose another --bundle directory"
            ) from error
        yield release


_LEAST_VECTOR_BYTES, _SEEN_BYTES, _HISTORY_BYTES = 16 * 4, 4, 8


def publish_bundle(
    finished: FinishedModel,
    facts: RunFacts,
    *,
    destination: Path,
    others: Sequence[FittedModel] = (),
    on_step: Callable[[str], None] = lambda step: None,
) -> str:
    """Export ``finished.model``, write the bundle, and put it in place in one step; returns the bundle's id.

    ``others``: the further models of the run, to be compared with it on the map. ``on_step`` is told each of ``STEPS``
    but the first as it begins.

    Raises:
        BundleError: the exported transfer differs from the trained one.
        InputError: the destination cannot be written, the disk is full, or the item index finds too little. What was
            there before is untouched.
    """
    sparse = finished.model.sparse_term()
    if sparse is not None and facts.index is not None and len(finished.model.head().item_vectors) > facts.index.above:
        raise InputError(
            f"an item index knows nothing of the sparse term that {finished.model.name} scores with; leave out "
            "--approximate-above, or the term by --set diffcdr.neighbour_shares=[0.0]"
        )
    exporting, writing, mapping, closing = STEPS[1:]
    on_step(exporting)
    exported = export_transfer(finished.model, generator=step_generator(facts.seed, "parity"))
    on_step(writing)
    with BundleWriter(destination) as writer:
        exported.write(writer)
        _write_source(writer, finished)
        _write_target(writer, finished)
        search = _write_index(writer, finished.model, facts.index)
        if sparse is not None:
            _write_neighbours(writer, sparse, finished)
        if facts.histories:
            source_history(finished.prepared.pair.source).write(writer)
        on_step(mapping)
        ranked = sorted(others, key=lambda other: -other.validation.ndcg)
        rivals = {other.name: other.model for other in ranked}
        draw_map(finished, generator=step_generator(facts.seed, "map"), others=rivals).write(writer)
        on_step(closing)
        return writer.publish(_manifest(finished, facts, transfer=exported.spec, search=search))


def _write_source(writer: BundleWriter, finished: FinishedModel) -> None:
    domain, model, fold = finished.prepared.pair.source, finished.model, finished.fold
    vectors = model.source_vectors().numpy()
    writer.ids("source_users", domain.users)
    writer.array("source_users/vectors.npy", vectors.astype(np.float32))
    writer.ids("source_items", domain.items)
    # Without a fold-in rule nothing reads these tables; their shape is kept.
    items = fold.item_vectors.numpy() if fold else np.zeros((len(domain.items), vectors.shape[1]))
    biases = fold.item_biases.numpy() if fold else np.zeros(len(domain.items))
    writer.array("source_items/vectors.npy", items.astype(np.float32))
    writer.array("source_items/biases.npy", biases.astype(np.float32))
    if fold is not None and fold.level_biases is not None:
        writer.array("source_items/level_biases.npy", fold.level_biases.numpy().astype(np.float32))
    history = model.source_history()
    if history is not None:
        writer.array("source_items/idf.npy", history.idf)
        writer.array("source_items/basis.npy", history.basis)
    if domain.titles is not None:
        writer.titles("source_items", domain.titles)


def _write_target(writer: BundleWriter, finished: FinishedModel) -> None:
    domain, ratings, head = finished.prepared.pair.target, finished.problem.target, finished.model.head()
    items = ratings.items
    writer.ids("target_users", IdTable(domain.users.array[finished.warm_rows]))
    writer.array("target_users/vectors.npy", finished.warm_vectors)
    _write_seen(writer, finished)
    writer.ids("target_items", domain.items)
    writer.array("target_items/vectors.npy", head.item_vectors.numpy().astype(np.float32))
    writer.array("target_items/biases.npy", head.item_biases.numpy().astype(np.float32))
    writer.array("target_items/popularity.npy", np.bincount(items, minlength=ratings.n_items).astype(np.int64))
    if domain.titles is not None:
        writer.titles("target_items", domain.titles)
    domain.attributes.write(writer)


def _write_seen(writer: BundleWriter, finished: FinishedModel) -> None:
    """What each warm user has rated, and where there are likes, which of it was one."""
    ratings, (users, items) = finished.problem.target, finished.prepared.pair.target.disliked
    warm = np.isin(users, finished.warm_rows)
    users, items = np.concatenate([ratings.users, users[warm]]), np.concatenate([ratings.items, items[warm]])
    order = np.lexsort((items, users))
    counts = np.bincount(np.searchsorted(finished.warm_rows, users), minlength=len(finished.warm_rows))
    writer.array("target_users/seen_indptr.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    writer.array("target_users/seen_items.npy", items[order].astype(np.int32))
    if _likes(finished) is not None:
        writer.array("target_users/seen_liked.npy", order < len(ratings))


def _likes(finished: FinishedModel) -> LikesSpec | None:
    likes = finished.prepared.likes
    return None if likes is None else LikesSpec(source=likes[0], target=likes[1])


def _write_neighbours(writer: BundleWriter, term: SparseTerm, finished: FinishedModel) -> None:
    source, table = finished.problem.source, term.table()
    histories = source_histories(source, torch.arange(source.n_users))
    tables = NeighbourTables(
        table.indptr, table.items, table.values, table.item_weights, histories.indptr, histories.rows
    )
    for name in TABLES:
        writer.array(f"{NEIGHBOURS_FOLDER}/{name}.npy", getattr(tables, name))


def _write_index(writer: BundleWriter, model: TransferModel, options: IndexOptions | None) -> SearchSpec | None:
    """Write the item index where there are enough items for one, measured on users carried over by ``model``."""
    head = model.head()
    if options is None or len(head.item_vectors) <= options.above:
        return None
    users = model.source_vectors()
    with torch.no_grad():
        carried = model.transfer(users[:: max(1, len(users) // MEASURED_USERS)])
    vectors, biases, measured = (
        each.numpy().astype(np.float32) for each in (head.item_vectors, head.item_biases, carried)
    )
    content, spec = build_index(vectors, biases, measured, offset=head.offset, floor=options.floor)
    writer.data(INDEX_FILE, content.data)
    return spec


def _manifest(
    finished: FinishedModel, facts: RunFacts, *, transfer: TransferSpec, search: SearchSpec | None
) -> Manifest:
    pair, split, head = finished.prepared.pair, finished.prepared.split, finished.model.head()
    sparse = finished.model.sparse_term()
    return Manifest(
        created_at=datetime.now(UTC),
        generator=f"diffcdr {__version__}",
        model=finished.model.name,
        preset=facts.preset,
        transfer=transfer,
        scoring=ScoringSpec(
            objective=head.objective,
            offset=head.offset,
            rating_range=facts.rating_range if head.objective == "rating" else None,
        ),
        search=search,
        sparse=None if sparse is None else SparseSpec(length_power=sparse.length_power),
        fold_in=finished.fold.spec if finished.fold else None,
        likes=_likes(finished),
        warm=finished.warm,
        attributes=pair.target.attributes.specs(),
        counts=Counts(
            source_users=len(pair.source.users),
            source_items=len(pair.source.items),
            target_users=len(finished.warm_rows),
            target_items=len(pair.target.items),
            overlap_users=len(pair.overlap_source),
        ),
        provenance=Provenance(
            source=pair.source.file,
            target=pair.target.file,
            seed=facts.seed,
            test_fraction=facts.config.split.test_fraction,
            split={"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            cut=finished.prepared.cut,
            config=_settings(facts),
            tuning=dict(facts.tuning),
            selected_by=facts.selected_by,
            favoured=facts.favoured,
            versions={"python": platform.python_version(), **library_versions(LIBRARIES)},
        ),
        metrics={
            scope: {name: metrics.as_dict() for name, metrics in models.items()}
            for scope, models in facts.metrics.items()
        },
        standard_errors={
            scope: {name: metrics.errors_as_dict() for name, metrics in models.items()}
            for scope, models in facts.metrics.items()
        },
        paired={scope: _paired(finished.model.name, models) for scope, models in facts.metrics.items()},
    )


def _paired(published: str, models: Mapping[str, Metrics]) -> dict[str, Paired]:
    if published not in models:
        return {}
    found = {name: paired_difference(models[published], theirs) for name, theirs in models.items() if name != published}
    return {
        name: Paired(metric=f"ndcg@{models[name].k}", difference=each.ndcg, standard_error=each.standard_error)
        for name, each in found.items()
        if each is not None
    }


def _settings(facts: RunFacts) -> dict[str, Any]:
    """The sections that had a say in this run."""
    sections = {"split", "base", *(section_of(name) for models in facts.metrics.values() for name in models)}
    return facts.config.model_dump(mode="json", include=sections)
