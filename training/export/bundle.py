"""From a fitted model to a published bundle: the transfer, its tables, and the map.

``target_users`` are the users with target ratings. Those of held-out users reach nothing that is fitted, chosen or
measured: with :attr:`FinishedModel.held_out` ``known`` they give their users vectors and keep rated items out of their
lists, once all else is done; with ``cold`` they reach nothing in the bundle but the metrics in its manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from diffcdr.bundle.format import INDEX_FILE
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import SearchSpec
from diffcdr.bundle.neighbours import NEIGHBOURS_FOLDER, TABLES, NeighbourTables
from diffcdr.bundle.writer import BundleWriter
from diffcdr.errors import InputError
from diffcdr.search.build_index import MEASURED_USERS, IndexOptions, build_index
from training.export.onnx import export_transfer
from training.export.run_manifest import RunFacts, likes_of, manifest_of
from training.export.user_map import draw_map, source_history
from training.models.contract import TransferModel
from training.models.sparse_term import SparseTerm, source_histories
from training.run.finish import FinishedModel
from training.run.fit import FittedModel
from training.run.run import step_generator

STEPS = ("warm start", "export and compare", "tables", "map of users and items", "hashes")
"""What publishing a model does, in this order; the first comes before :func:`publish_bundle`."""


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
            f"an item index ignores the sparse term that {finished.model.name} scores with; leave out "
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
        return writer.publish(manifest_of(finished, facts, transfer=exported.spec, search=search))


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
    ratings, (users, items) = finished.rated, finished.prepared.pair.target.disliked
    warm = np.isin(users, finished.warm_rows)
    users, items = np.concatenate([ratings.users, users[warm]]), np.concatenate([ratings.items, items[warm]])
    order = np.lexsort((items, users))
    counts = np.bincount(np.searchsorted(finished.warm_rows, users), minlength=len(finished.warm_rows))
    writer.array("target_users/seen_indptr.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    writer.array("target_users/seen_items.npy", items[order].astype(np.int32))
    if likes_of(finished) is not None:
        writer.array("target_users/seen_liked.npy", order < len(ratings))


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
