"""Build an item index for :mod:`diffcdr.search.approximate`, reproducibly on one thread, and measure its recall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from diffcdr.arrays import Float32Array, Int32Array, Int64Array, UInt8Array
from diffcdr.bundle.manifest import SearchSpec
from diffcdr.errors import InputError
from diffcdr.search.approximate import FEWEST_CANDIDATES, RECALL_K, ApproximateTopK, load_faiss
from diffcdr.search.topk import TopK, typical_norm

MEASURED_USERS = 2_000
"""Approximate number of source users to measure recall for, evenly spaced in the table."""
SHARES = (256, 128, 64, 32, 16, 8, 4)
"""One in this many lists is searched: the first value that reaches the floor is used."""
LISTS_PER_ROOT = 4
"""Lists are about this often the square root of the items, as a power of two."""
FEWEST_IN_A_LIST = 16
SAMPLE_PER_LIST, ROUNDS, SEED = 64, 10, 1
"""Of k-means: items a list that centroids are learned from, passes over them, and the seed."""


@dataclass(frozen=True)
class IndexOptions:
    """When a bundle gets an index, and how good it has to be."""

    above: int
    """With more target items than this, the index stands in for the exact search."""
    floor: float
    """Least recall of the exact best 20 that is published."""


def build_index(
    vectors: Float32Array, biases: Float32Array, users: Float32Array, *, offset: float, floor: float
) -> tuple[UInt8Array, SearchSpec]:
    """The index of all items, and its recall of the exact best 20. One thread and one seed, so one result.

    Args:
        vectors: float32 [n, dim], as items are scored; n is at least 1.
        biases: float32 [n].
        users: float32 [B, dim], B at least 1: target vectors of users that the bundle is there for.
        offset: added to every score.
        floor: least mean recall, 0 to 1.

    Raises:
        InputError: it takes more than a quarter of the lists to reach the floor.
        MissingExtraError: faiss is not installed.
    """
    content, lists, radius = _inverted_lists(vectors, biases)
    exact = TopK(vectors, biases, offset=offset, typical_norm=typical_norm(users))
    best, _ = exact.search(users, RECALL_K)
    # Lists that hold too few for an answer would leave it to the exact search.
    fewest = min(lists, math.ceil(2 * FEWEST_CANDIDATES * lists / len(vectors)))
    recall = 0.0
    for probes in sorted({max(fewest, lists // share) for share in SHARES}):
        spec = SearchSpec(kind="ivf", lists=lists, probes=probes, radius=radius, recall=0.0, users=len(users))
        found, _ = ApproximateTopK(exact, content, spec).search(users, RECALL_K)
        recall = recall_of(found, best)
        if recall >= floor:
            return content, spec.model_copy(update={"recall": recall})
    raise InputError(
        f"the approximate index finds {recall:.3f} of the exact best {RECALL_K} at most, below the floor of {floor:g}, "
        "so nothing was published; keep to the exact search, or lower --recall-floor"
    )


def recall_of(found: Int32Array, best: Int32Array) -> float:
    """Mean share of each user's ``best`` item rows [B, k] that ``found`` [B, k] holds; -1 is no item."""
    hits = (found[:, :, None] == best[:, None, :]) & (best >= 0)[:, None, :]
    return float(np.mean(hits.any(axis=1).sum(axis=1) / np.maximum((best >= 0).sum(axis=1), 1)))


def _inverted_lists(vectors: Float32Array, biases: Float32Array) -> tuple[UInt8Array, int, float]:
    """(the index as bytes, how many lists it has, the length of the longest item)."""
    faiss = load_faiss()
    n, width = len(vectors), vectors.shape[1] + 2
    lists = 2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(n)))
    lists = max(1, min(lists, n // FEWEST_IN_A_LIST))
    items = np.zeros((n, width), dtype=np.float32)
    items[:, :-2], items[:, -2] = vectors, biases
    lengths = np.sqrt(np.einsum("nd,nd->n", items, items, dtype=np.float64))
    radius = float(lengths.max()) or 1.0
    on_sphere = (items / np.float64(radius)).astype(np.float32)
    on_sphere[:, -1] = np.sqrt(np.maximum(1.0 - np.square(lengths / radius), 0.0))
    # Several threads would add up in another order each time.
    with threadpool_limits(limits=1):
        means = faiss.Kmeans(
            width, lists, niter=ROUNDS, seed=SEED, max_points_per_centroid=SAMPLE_PER_LIST, min_points_per_centroid=1
        )
        means.train(on_sphere)
        nearest: Int64Array = np.ascontiguousarray(means.index.search(on_sphere, 1)[1][:, 0])
        centroids = faiss.IndexFlatL2(width)
        centroids.add(means.centroids)
        index = faiss.IndexIVFFlat(centroids, width, lists, faiss.METRIC_INNER_PRODUCT)
        index.is_trained = True
        index.add_core(n, faiss.swig_ptr(items), None, faiss.swig_ptr(nearest))
        content: UInt8Array = faiss.serialize_index(index)
    return content, lists, radius
