"""Approximate top-k over very many items: candidates from a few lists, exact scores, the exact search as fallback.

The items lie in lists, each around a centroid (an inverted file, by faiss), as ``[v_j, bias_j, 0]``, so that a biased
score is an inner product with ``[u, 1, 0]``. Distances decide which list an item goes to, and which lists are searched
for a user: with ``sqrt(1 - |v_j, bias_j|^2)`` as the last dimension, lengths in units of the longest item, all items
lie on a sphere, and the nearest to ``[u, 1, 0]`` has the largest inner product (Bachrach et al., RecSys 2014).

Items of the searched lists are scored and ordered by the definition of :mod:`diffcdr.search.topk`: every item found has
the score and order, ties included, that the exact search gives it. Only items of other lists can be missing. How often
that happens is measured when the index is built (:mod:`diffcdr.search.build_index`) and written to the manifest.

If this cannot be guaranteed for a user, the exact search answers: too many items are excluded, fewer than k are left,
rounding or a tie at the k-th place may have cut off an item, or float32 might overflow. A user's answer depends on the
user, ``k`` and the excluded items, never on the rest of a batch.
"""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from diffcdr.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt8Array
from diffcdr.bundle.manifest import SearchSpec
from diffcdr.errors import BundleError, MissingExtraError
from diffcdr.search.candidates import unpack
from diffcdr.search.exact import to_steps
from diffcdr.search.topk import MaskedRows, TopK
from diffcdr.stage_times import stage

RECALL_K = 20
"""Length of the lists that recall is measured on."""
DEFAULT_FLOOR = 0.95
"""Default for the least recall that is published and served."""
FEWEST_CANDIDATES, SPARE = 64, 16
"""Candidates kept per user: a power of two, at least ``SPARE`` above the answer's length plus excluded items."""
MOST_CANDIDATES = 2048
"""Beyond it, the exact search of a batch is about as fast."""
VALUES_AT_ONCE = 1 << 20
"""Values of candidates scored at a time: 8 MiB."""


class ApproximateTopK:
    """The contract of :class:`TopK`, by lists. Immutable after construction, so safe to share between threads."""

    prefixes = False
    """A longer list searches more, and may find items that a shorter one missed."""
    device = "cpu"
    """Where it runs."""

    def __init__(self, exact: TopK, index: UInt8Array, spec: SearchSpec) -> None:
        """Take the lists in ``index`` (bytes as :mod:`diffcdr.search.build_index` makes them; kept, not copied).

        Raises:
            BundleError: it is not an index, or one of other items.
            MissingExtraError: faiss is not installed.
        """
        self.n_items = exact.n_items
        self._exact, self._spec, self._bytes = exact, spec, index
        self._faiss = load_faiss()
        try:
            reader = self._faiss.ZeroCopyIOReader(self._faiss.swig_ptr(index), index.nbytes)
            self._lists = self._faiss.read_index(reader, self._faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(
                "the bundle's item index cannot be read by the faiss installed here; publish it again"
            ) from error
        held = (self._lists.ntotal, self._lists.d - 2, self._lists.nlist)
        if held != (exact.n_items, exact.dim, spec.lists):
            raise BundleError(
                f"the bundle's item index holds {held[0]:,} items x {held[1]} in {held[2]:,} lists, "
                f"not {exact.n_items:,} x {exact.dim} in {spec.lists:,}; publish it again"
            )
        centroids: Float32Array = self._faiss.downcast_index(self._lists.quantizer).reconstruct_n(0, spec.lists)
        # By dimension, as the product wants them. They are means of points on the unit sphere, so no longer than 1.
        self._centroids = np.ascontiguousarray(to_steps(centroids.astype(np.float64)).T)
        self._squares = np.square(self._centroids).sum(axis=0)

    def search(
        self, users: Float32Array, k: int, *, masked: MaskedRows | None = None
    ) -> tuple[Int32Array, Float32Array]:
        """Like :meth:`TopK.search`; items may be missing, but those found have exact scores."""
        users = np.asarray(users, dtype=np.float32)
        rows = np.full((len(users), k), -1, dtype=np.int32)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        excluded = np.zeros(len(users), dtype=np.int64) if masked is None else np.diff(masked.indptr)
        margin = self._exact.margin(users)
        kept = np.where(np.isfinite(margin), self._candidates(k + excluded), 0)
        trusted = np.zeros(len(users), dtype=np.bool_)
        for count in sorted(set(kept.tolist()) - {0}):
            chosen = np.flatnonzero(kept == count)
            step = max(1, VALUES_AT_ONCE // max(count * self._lists.d, self._spec.lists))
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                found = self._found(users[part], count, None if masked is None else masked.take(part))
                trusted[part], rows[part], scores[part] = self._best(users[part], found, k, margin=margin[part])
        rest = np.flatnonzero(~trusted)
        if len(rest):
            with stage("topk"):
                only = None if masked is None else masked.take(rest)
                rows[rest], scores[rest] = self._exact.search(users[rest], k, masked=only)
        return rows, scores

    def _candidates(self, wanted: Int64Array) -> Int64Array:
        """How many to keep for ``wanted`` items [U], including excluded ones; 0 means the exact search."""
        needed = np.maximum(wanted + SPARE, FEWEST_CANDIDATES)
        # The power of two from there on: frexp is exact on every processor, unlike a logarithm.
        kept = 2 ** np.frexp(needed - 1)[1].astype(np.int64)
        return np.where(kept <= min(MOST_CANDIDATES, self.n_items - 1), kept, 0)

    def _found(self, users: Float32Array, count: int, masked: MaskedRows | None) -> tuple[Int64Array, BoolArray]:
        """(item rows [U, count] of each user's lists, whether these lists may hold more [U]).

        The largest float32 products come first; -1 stands for none, and for a masked one.
        """
        extended = np.zeros((len(users), self._lists.d), dtype=np.float32)
        extended[:, :-2] = users
        extended[:, -2] = 1.0
        # Longer lists reach farther from the centre: by the root of their length, at the recall of short ones.
        probes = min(self._spec.lists, self._spec.probes * math.ceil(math.sqrt(count / FEWEST_CANDIDATES)))
        lists = self._nearest(extended, probes)
        products = np.empty((len(users), count), dtype=np.float32)
        rows = np.empty((len(users), count), dtype=np.int64)
        unused = np.zeros(lists.shape, dtype=np.float32)
        # One thread, since the service's other threads are busy. The setting applies only to this thread.
        self._faiss.omp_set_num_threads(1)
        pointers = [self._faiss.swig_ptr(each) for each in (extended, lists, unused, products, rows)]
        parameters = self._faiss.SearchParametersIVF(nprobe=probes)
        self._lists.search_preassigned_c(len(users), pointers[0], count, *pointers[1:], False, parameters)
        more = rows[:, -1] >= 0
        if masked is not None and len(masked.rows):
            owners, forbidden = masked.part(0, len(users))
            pairs = np.arange(len(users))[:, None] * self.n_items + rows
            rows[np.isin(pairs, owners * self.n_items + forbidden)] = -1
        return rows, more

    def _nearest(self, extended: Float32Array, probes: int) -> Int64Array:
        """The ``probes`` lists nearest to each user [U, dim + 2], in any order, int64 [U, probes].

        The product is exact, so that the same are found on every processor and in any batch; of equals the first.
        """
        if probes == self._spec.lists:
            return np.tile(np.arange(probes), (len(extended), 1))
        queries = extended.astype(np.float64)
        lengths = np.sqrt(np.einsum("ud,ud->u", queries, queries))[:, None]
        norms = lengths / self._spec.radius
        # |q|^2 - |c - q|^2, all divided by |q| where that is above 1.
        nearness = (to_steps(queries / lengths) @ self._centroids) * (2.0 * np.minimum(norms, 1.0))
        nearness -= self._squares / np.maximum(norms, 1.0)
        last = self._spec.lists - probes
        taken = nearness >= np.partition(nearness, last, axis=1)[:, last, None]
        if np.count_nonzero(taken) > probes * len(taken):
            for user in np.flatnonzero(np.count_nonzero(taken, axis=1) > probes).tolist():
                order = np.argsort(-nearness[user], kind="stable")
                taken[user, order[probes:]] = False
        starts = self._spec.lists * np.arange(len(extended))[:, None]
        return np.flatnonzero(taken).reshape(len(extended), probes) - starts

    def _best(
        self, users: Float32Array, found: tuple[Int64Array, BoolArray], k: int, *, margin: Float64Array
    ) -> tuple[BoolArray, Int32Array, Float32Array]:
        """(whether these are the best of the user's lists [U], item rows [U, k], scores [U, k])."""
        candidates, more = found
        rows, scores = unpack(self._exact.ranked_keys(users, candidates))
        count = np.count_nonzero(candidates >= 0, axis=1)
        lowest = np.take_along_axis(scores, np.maximum(count - 1, 0)[:, None], axis=1)[:, 0].astype(np.float64)
        # Items cut off have float32 products below that of the last one kept, so their scores are at most this.
        clear = scores[:, k - 1] > lowest + 2.0 * margin
        return (count >= k) & (clear | ~more), rows[:, :k], scores[:, :k]


def open_search(
    exact: TopK, index: UInt8Array | None, spec: SearchSpec | None, *, bundle: Path
) -> TopK | ApproximateTopK:
    """The search of a bundle's items: its index if it has one, else ``exact``.

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
    return f"approximate ({spec.probes:,} of {spec.lists:,} lists): {found}"


def check_recall(spec: SearchSpec | None, floor: float, *, bundle: Path) -> None:
    """Refuse a bundle whose index finds less than ``floor`` of the exact best 20. Raises BundleError."""
    if spec is not None and spec.recall < floor:
        raise BundleError(
            f"the item index of bundle {bundle} finds {spec.recall:.3f} of the exact best {RECALL_K}, below the floor "
            f"of {floor:g}; publish it with a higher --recall-floor, or lower DIFFCDR_RECALL_FLOOR"
        )


def load_faiss() -> Any:
    """The module faiss. Raises MissingExtraError if it is not installed."""
    try:
        # Imported only here: bundles without an index do not need it.
        return import_module("faiss")
    except ImportError as error:
        raise MissingExtraError("an approximate item index", extra="ann") from error
