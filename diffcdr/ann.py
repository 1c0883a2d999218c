"""Approximate top-k over very many items: candidates from a graph, exact scores, and the exact search behind it.

The graph (HNSW, Malkov and Yashunin 2018, by faiss) holds ``[v_j, bias_j]`` and is asked for the largest inner
products with ``[u, 1]``, so a biased score is an inner product with one more dimension. Its candidates are scored and
ordered by the definition of :mod:`diffcdr.topk`: whatever is found has the score and the place, ties included, that the
exact search gives it. What can be missing is an item that the graph never led to; how often that happens is measured
when the index is made (:func:`build_index`) and stands in the manifest.

The exact search answers instead, user by user, wherever candidates cannot be trusted: too many items are excluded,
fewer than k are left, a tie at the k-th place may go on beyond the candidates, or float32 might overflow. A user's
answer depends on the user, ``k`` and what is excluded, never on the rest of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.candidates import unpack
from diffcdr.errors import BundleError, InputError, MissingExtraError
from diffcdr.manifest import SearchSpec
from diffcdr.stages import stage
from diffcdr.topk import MaskedRows, TopK, typical_norm

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]

RECALL_K = 20
"""Length of the lists that recall is measured on."""
NEIGHBOURS = 16
"""Links of an item in each layer of the graph, twice as many in the lowest: 128 bytes an item."""
CONSTRUCTION = 80
"""Candidates kept while an item's neighbours are looked for."""
DEFAULT_FLOOR = 0.95
"""Least recall that is published, and served, unless the operator says otherwise."""
MEASURED_USERS = 2_000
"""About how many source users recall is measured for, at even distances in the table."""
DEPTHS = (64, 128, 256, 512, 1024)
"""Candidates kept while walking the graph: the first of these that reaches the floor is taken."""
LARGEST_DEPTH = 2048
"""Beyond it, the exact search of a batch is about as fast."""
VALUES_AT_ONCE = 1 << 20
"""Values of candidates scored at a time: 8 MiB."""


@dataclass(frozen=True)
class IndexOptions:
    """When a bundle gets an index, and how good it has to be."""

    above: int
    """With more target items than this, the index stands in for the exact search."""
    floor: float
    """Least recall of the exact best 20 that is published."""


class ApproximateTopK:
    """The contract of :class:`TopK`, by a graph. Nothing changes after construction: threads may share it freely."""

    prefixes = False
    """More candidates are looked at for a longer list, which may find what a shorter one missed."""

    def __init__(self, exact: TopK, index: UInt8Array, spec: SearchSpec) -> None:
        """Take the graph in ``index`` (bytes as :func:`build_index` made them; kept, not copied).

        Raises:
            BundleError: it is no index, or one of other items.
            MissingExtraError: faiss is not installed.
        """
        self.n_items = exact.n_items
        self._exact, self._spec, self._bytes = exact, spec, index
        self._faiss = load_faiss()
        try:
            reader = self._faiss.ZeroCopyIOReader(self._faiss.swig_ptr(index), index.nbytes)
            self._graph = self._faiss.read_index(reader, self._faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(
                "the bundle's item index cannot be read by the faiss installed here; publish it again"
            ) from error
        if (self._graph.ntotal, self._graph.d) != (exact.n_items, exact.dim + 1):
            raise BundleError(
                f"the bundle's item index holds {self._graph.ntotal:,} items x {self._graph.d}, "
                f"not {exact.n_items:,} x {exact.dim + 1}; publish it again"
            )

    def search(
        self, users: Float32Array, k: int, *, masked: MaskedRows | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """As :meth:`TopK.search`; an item may be missing, but what is there has its exact score."""
        users = np.asarray(users, dtype=np.float32)
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        excluded = np.zeros(len(users), dtype=np.int64) if masked is None else np.diff(masked.indptr)
        depths = np.where(self._exact.in_range(users), self._depths(k + excluded), 0)
        trusted = np.zeros(len(users), dtype=np.bool_)
        for depth in sorted(set(depths.tolist()) - {0}):
            chosen = np.flatnonzero(depths == depth)
            step = max(1, VALUES_AT_ONCE // (depth * self._graph.d))
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                trusted[part], rows[part], scores[part] = self._among(users[part], k, depth, _of(masked, part))
        rest = np.flatnonzero(~trusted)
        if len(rest):
            with stage("topk"):
                rows[rest], scores[rest] = self._exact.search(users[rest], k, masked=_of(masked, rest))
        return rows, scores

    def score(self, user: Float32Array, rows: npt.NDArray[np.integer[Any]]) -> Float32Array:
        """As :meth:`TopK.score`."""
        return self._exact.score(user, rows)

    def _depths(self, wanted: Int64Array) -> Int64Array:
        """Candidates for lists of ``wanted`` items [U], excluded ones among them; 0 leaves it to the exact search.

        As many for each item of the list as recall was measured with, in powers of two.
        """
        needed = np.maximum(wanted / RECALL_K, 1.0) * self._spec.depth
        depths = (2 ** np.ceil(np.log2(needed))).astype(np.int64)
        return np.where(depths <= min(LARGEST_DEPTH, self.n_items - 1), depths, 0)

    def _among(
        self, users: Float32Array, k: int, depth: int, masked: MaskedRows | None
    ) -> tuple[npt.NDArray[np.bool_], Int32Array, Float32Array]:
        """(whether these can be trusted [U], item rows [U, k], scores [U, k]): the best of ``depth`` candidates."""
        extended = np.concatenate([users, np.ones((len(users), 1), dtype=np.float32)], axis=1)
        # One thread: the service's other threads have work of their own. The setting is this thread's alone.
        self._faiss.omp_set_num_threads(1)
        parameters = self._faiss.SearchParametersHNSW(efSearch=depth)
        found: Int64Array = self._graph.search(extended, depth, params=parameters)[1]
        if masked is not None and len(masked.rows):
            owners, forbidden = masked.part(0, len(users))
            pairs = np.arange(len(users))[:, None] * self.n_items + found
            found = np.where(np.isin(pairs, owners * self.n_items + forbidden), -1, found)
        rows, scores = unpack(self._exact.ranked_keys(users, found))
        # Only where something worse than the k-th was found, too, can nothing as good as it have been left out; so
        # fewer than k are never enough.
        last = np.maximum(np.count_nonzero(found >= 0, axis=1) - 1, 0)
        trusted = scores[:, k - 1] > np.take_along_axis(scores, last[:, None], axis=1)[:, 0]
        return trusted, rows[:, :k], scores[:, :k]


def build_index(
    vectors: Float32Array, biases: Float32Array, users: Float32Array, *, offset: float, floor: float
) -> tuple[UInt8Array, SearchSpec]:
    """The index of all items, and what of the exact best 20 it finds. One thread, one seed, one result.

    Args:
        vectors: float32 [n, dim], as items are scored.
        biases: float32 [n].
        users: float32 [B, dim], B at least 1: target vectors of users that the bundle is there for.
        offset: added to every score.
        floor: least mean recall, 0 to 1.

    Raises:
        InputError: no depth reaches the floor.
        MissingExtraError: faiss is not installed.
    """
    content = _graph(vectors, biases)
    exact = TopK(vectors, biases, offset=offset, typical_norm=typical_norm(users))
    best, _ = exact.search(users, RECALL_K)
    recall = 0.0
    for depth in DEPTHS:
        spec = SearchSpec(
            kind="hnsw", neighbours=NEIGHBOURS, construction=CONSTRUCTION, depth=depth, recall=0.0, users=len(users)
        )
        found, _ = ApproximateTopK(exact, content, spec).search(users, RECALL_K)
        recall = recall_of(found, best)
        if recall >= floor:
            return content, spec.model_copy(update={"recall": recall})
    raise InputError(
        f"the approximate index finds {recall:.3f} of the exact best {RECALL_K} at most, below the floor of {floor:g}, "
        "so nothing was published; leave --approximate-above out for the exact search, or lower --recall-floor"
    )


def recall_of(found: Int32Array, best: Int32Array) -> float:
    """Mean share of each user's ``best`` item rows [B, k] that ``found`` [B, k] holds; -1 is no item."""
    hits = (found[:, :, None] == best[:, None, :]) & (best >= 0)[:, None, :]
    return float(np.mean(hits.any(axis=1).sum(axis=1) / np.maximum((best >= 0).sum(axis=1), 1)))


def open_search(
    exact: TopK, index: UInt8Array | None, spec: SearchSpec | None, *, bundle: Path
) -> TopK | ApproximateTopK:
    """What a bundle's items are searched with: ``exact``, or its index where it carries one.

    Raises:
        BundleError: the index cannot be used.
        MissingExtraError: faiss is not installed.
    """
    if spec is None or index is None:
        return exact
    try:
        return ApproximateTopK(exact, index, spec)
    except BundleError as error:
        raise BundleError(f"bundle {bundle}: {error}") from error


def describe(spec: SearchSpec | None) -> str:
    """In words, how a bundle's items are searched."""
    if spec is None:
        return "exact"
    found = f"{spec.recall:.2%} of the exact best {RECALL_K} for {spec.users:,} users"
    return f"approximate ({spec.kind}, {spec.depth} candidates): {found}"


def check_recall(spec: SearchSpec | None, floor: float, *, bundle: Path) -> None:
    """Refuse a bundle whose index finds less than ``floor`` of the exact best 20. Raises BundleError."""
    if spec is not None and spec.recall < floor:
        raise BundleError(
            f"the item index of bundle {bundle} finds {spec.recall:.3f} of the exact best {RECALL_K}, below the floor "
            f"of {floor:g}; publish it with a higher --recall-floor, or lower DIFFCDR_RECALL_FLOOR"
        )


def _graph(vectors: Float32Array, biases: Float32Array) -> UInt8Array:
    faiss = load_faiss()
    threads = faiss.omp_get_max_threads()
    try:
        # Insertions in parallel would make another graph each time.
        faiss.omp_set_num_threads(1)
        graph = faiss.IndexHNSWFlat(vectors.shape[1] + 1, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = CONSTRUCTION
        graph.add(np.concatenate([vectors, biases[:, None]], axis=1, dtype=np.float32))
        content: UInt8Array = faiss.serialize_index(graph)
    finally:
        faiss.omp_set_num_threads(threads)
    return content


def _of(masked: MaskedRows | None, users: Int64Array) -> MaskedRows | None:
    """The part of ``users`` alone, in their order."""
    if masked is None:
        return None
    return MaskedRows.pack([masked.rows[masked.indptr[user] : masked.indptr[user + 1]] for user in users.tolist()])


def load_faiss() -> Any:
    """The module faiss. Raises MissingExtraError where it is not installed."""
    try:
        # Loaded here alone: bundles without an index need none of it.
        return import_module("faiss")
    except ImportError as error:
        raise MissingExtraError("an approximate item index", extra="ann") from error
