"""Fold-in: a source vector in closed form, from ratings given with the request (see :class:`FoldInSpec`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from diffcdr.arrays import Float32Array, Float64Array, Int64Array
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import FoldInSpec, RatingShapeSpec
from diffcdr.bundle.reader import SourceItems
from diffcdr.errors import BundleError

SOLVED_TOLERANCE = 1e-6
"""Largest distance, relative to their length, between vectors solved on processors whose LAPACK sums in different
orders, if the history or the regularisation determines the solution."""
LARGEST_RATING = float(np.finfo(np.float32).max)
"""Training accepts no larger ratings. Up to here, no step of the fold-in overflows float64."""


class FoldIn:
    """Least-squares user vectors against the source items of one bundle.

    Each user is solved separately, in float64, over the items in row order, so the answer depends neither on the order
    of the ratings nor on other users.
    """

    def __init__(self, spec: FoldInSpec, items: SourceItems) -> None:
        """Raises BundleError if ``spec.regularisation`` has neither one value nor one per dimension."""
        self._spec = spec
        self._items = items
        dim = items.vectors.shape[1]
        if len(spec.regularisation) not in (1, dim):
            raise BundleError(
                f"fold_in.regularisation has {len(spec.regularisation)} values for {dim} dimensions; "
                "publish the bundle again"
            )
        self._ridge = np.broadcast_to(np.asarray(spec.regularisation, dtype=np.float64), (dim,))
        if spec.history is not None and (items.idf is None or items.basis is None):
            raise BundleError("fold_in.history needs source_items/idf.npy and basis.npy; publish the bundle again")
        if spec.shape is not None and items.level_biases is None:
            raise BundleError("fold_in.shape needs source_items/level_biases.npy; publish the bundle again")
        self._gram: Float64Array | None = None
        if spec.kind == "als":
            vectors = np.asarray(items.vectors, dtype=np.float64)
            self._gram = vectors.T @ vectors

    def __call__(self, history: Sequence[tuple[str, float]]) -> Float32Array | None:
        """Source vector float32 [source_dim] of a user with ``history``, (item id, rating) pairs.

        The last rating of an item counts. Unknown items and ratings beyond float32 are left out. None if no rating is
        left, or if the result is beyond float32.
        """
        rows, ratings = usable_ratings(self._items.ids, history)
        if not len(rows):
            return None
        vectors = self._items.vectors[rows].astype(np.float64)
        try:
            if self._gram is None:
                residuals = ratings - self._spec.offset - self._items.biases[rows].astype(np.float64)
                solution = self._solve_ridge(vectors, residuals)
            else:
                solution = self._solve_als(self._gram, vectors)
        except np.linalg.LinAlgError:  # did not converge: values near the end of the float range
            return None
        if self._spec.shape is not None:
            solution = self._with_shape(self._spec.shape, rows, ratings, solution)
        elif self._spec.history is not None:
            length = self._spec.history.vector_weight * _over_length(solution, solution)
            solution = np.concatenate([self._features(rows), length])
        with np.errstate(over="ignore"):
            vector = solution.astype(np.float32)
        return vector if np.isfinite(vector).all() else None

    def parts(self, rows: npt.NDArray[np.int64], ratings: Float64Array) -> tuple[Float64Array, Float64Array]:
        """The summands of a source vector of :meth:`__call__`: a base [source_dim], and a part for each rating.

        The parts are float64 [H, source_dim], H >= 1; the user's own system and lengths are held fixed. ``rows``,
        ascending, and ``ratings`` come from :func:`usable_ratings`. The base is the rest of the vector.

        Raises:
            numpy.linalg.LinAlgError: values near the end of the float range.
        """
        vectors = self._items.vectors[rows].astype(np.float64)
        if self._gram is None:
            residuals = ratings - self._spec.offset - self._items.biases[rows].astype(np.float64)
            design = np.vstack([vectors, np.diag(np.sqrt(self._ridge))])
            solved = np.asarray(np.linalg.pinv(design)[:, : len(rows)].T * residuals[:, None], dtype=np.float64)
        else:
            left, confidence = self._als_system(self._gram, vectors), self._spec.confidence
            solved = _solution(left, confidence * vectors.T).T
        base = np.zeros(solved.shape[1])
        if self._spec.shape is not None:
            own_base, own = rating_shape_parts(self._spec.shape, ratings, self._level_residuals(rows, ratings))
            base = np.concatenate([base, own_base])
            solved = np.hstack([solved, own])
            if self._spec.history:
                solved = np.hstack([solved, self._feature_parts(rows)])
        elif self._spec.history is not None:
            length = self._spec.history.vector_weight * _over_length(solved, solved.sum(axis=0))
            solved = np.hstack([self._feature_parts(rows), length])
        return np.concatenate([base, np.zeros(solved.shape[1] - len(base))]), solved

    def alone(self, rows: npt.NDArray[np.int64]) -> tuple[Float64Array, Float64Array]:
        """The source vector of a user without ratings [source_dim], and what each item in ``rows`` adds to it.

        The additions are float64 [n, source_dim]: those of a history of that item alone. With ``ridge`` its rating is
        one point higher than expected. How a user rates (:class:`RatingShapeSpec`) is not the item's: it adds nothing.
        """
        vectors = self._items.vectors[rows].astype(np.float64)
        solved = self._alone(vectors)
        base = np.zeros(solved.shape[1])
        shape, history = self._spec.shape, self._spec.history
        if history is not None:
            assert self._items.idf is not None and self._items.basis is not None  # seen to at the start
            features = np.sign(self._items.idf[rows])[:, None] * self._items.basis[rows].astype(np.float64)
        if shape is not None:
            nobody = np.empty(0)
            (own,) = rating_shape(shape, nobody.astype(np.int64), nobody, nobody, n_users=1)
            solved, base = np.hstack([solved, np.zeros((len(rows), len(own)))]), np.concatenate([base, own])
            solved = np.hstack([solved, features]) if history is not None else solved
        elif history is not None:
            lengths = np.linalg.norm(solved, axis=1, keepdims=True)
            solved = np.hstack([features, history.vector_weight * solved / np.where(lengths > 0.0, lengths, 1.0)])
        return np.concatenate([base, np.zeros(solved.shape[1] - len(base))]), solved

    def _alone(self, vectors: Float64Array) -> Float64Array:
        """The solutions of histories of one item each, all at once: a rank-one update of one system (Sherman-Morrison).

        Raises:
            numpy.linalg.LinAlgError: without ratings, nothing determines the solution.
        """
        if self._gram is None:
            system, confidence = np.diag(self._ridge), 1.0
            plus = 1.0
        else:
            system, confidence = self._gram + np.diag(self._ridge), self._spec.confidence
            plus = confidence - 1.0
        with np.errstate(all="ignore"):
            solved = np.linalg.solve(system, vectors.T).T
            found: Float64Array = confidence * solved / (1.0 + plus * np.einsum("nd,nd->n", vectors, solved))[:, None]
        if not np.isfinite(found).all():
            raise np.linalg.LinAlgError("the solution is not finite")
        return found

    def _feature_parts(self, rows: npt.NDArray[np.int64]) -> Float64Array:
        assert self._items.idf is not None and self._items.basis is not None  # seen to at the start
        weights = self._items.idf[rows].astype(np.float64)
        return _over_length(weights[:, None] * self._items.basis[rows].astype(np.float64), weights)

    def _solve_ridge(self, vectors: Float64Array, residuals: Float64Array) -> Float64Array:
        # As one stacked least-squares problem: better conditioned than the normal equations, and defined (the
        # shortest solution) where nothing regularises a direction that the history leaves open.
        design = np.vstack([vectors, np.diag(np.sqrt(self._ridge))])
        return _least_squares(design, np.concatenate([residuals, np.zeros(len(self._ridge))]))

    def _solve_als(self, gram: Float64Array, vectors: Float64Array) -> Float64Array:
        return _least_squares(self._als_system(gram, vectors), self._spec.confidence * vectors.sum(axis=0))

    def _als_system(self, gram: Float64Array, vectors: Float64Array) -> Float64Array:
        system: Float64Array = gram + (self._spec.confidence - 1.0) * (vectors.T @ vectors) + np.diag(self._ridge)
        return system

    def _with_shape(
        self, shape: RatingShapeSpec, rows: npt.NDArray[np.int64], ratings: Float64Array, solution: Float64Array
    ) -> Float64Array:
        residuals = self._level_residuals(rows, ratings)
        (own,) = rating_shape(shape, np.zeros(len(rows), dtype=np.int64), ratings, residuals, n_users=1)
        return np.concatenate([solution, own, *([self._features(rows)] if self._spec.history else [])])

    def _level_residuals(self, rows: npt.NDArray[np.int64], ratings: Float64Array) -> Float64Array:
        assert self._items.level_biases is not None and self._spec.shape is not None  # seen to at the start
        residuals: Float64Array = ratings - self._spec.shape.offset - self._items.level_biases[rows].astype(np.float64)
        return residuals

    def _features(self, rows: npt.NDArray[np.int64]) -> Float64Array:
        assert self._items.idf is not None and self._items.basis is not None  # seen to at the start
        weights = self._items.idf[rows].astype(np.float64)
        return _over_length(weights @ self._items.basis[rows].astype(np.float64), weights)


def known_ratings(ids: IdTable, history: Sequence[tuple[str, float]]) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """Rows, ascending, and ratings of the (item id, rating) pairs that can be used; the last rating of an item counts.

    Items unknown to ``ids`` and ratings that are not finite are left out.
    """
    found = ids.rows([item for item, _ in history]).tolist()
    # A later pair replaces an earlier one of the same item.
    kept = dict(zip(found, (float(rating) for _, rating in history), strict=True))
    pairs = sorted((row, rating) for row, rating in kept.items() if row >= 0 and np.isfinite(rating))
    rows = np.array([row for row, _ in pairs], dtype=np.int64)
    return rows, np.array([rating for _, rating in pairs], dtype=np.float64)


def usable_ratings(ids: IdTable, history: Sequence[tuple[str, float]]) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """Like :func:`known_ratings`, without ratings beyond float32."""
    rows, ratings = known_ratings(ids, history)
    usable = np.abs(ratings) <= LARGEST_RATING
    return rows[usable], ratings[usable]


def _over_length(values: Float64Array, vector: Float64Array) -> Float64Array:
    """``values`` divided by the length of ``vector``; zeros if that is zero."""
    length = float(np.linalg.norm(vector))
    return values / length if length > 0 else np.zeros_like(values)


def _solution(system: Float64Array, right: Float64Array) -> Float64Array:
    """Like :func:`_least_squares`, several times faster if ``system`` is regular."""
    try:
        return np.asarray(np.linalg.solve(system, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return _least_squares(system, right)


def _least_squares(design: Float64Array, target: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0], dtype=np.float64)


def rating_shape(
    spec: RatingShapeSpec, users: Int64Array, values: Float64Array, residuals: Float64Array, *, n_users: int
) -> Float64Array:
    """How users rate: float64 [n_users, spec.dim], each row from that user's ratings alone.

    Args:
        spec: the statistics of the domain's ratings.
        users: int64 [R], the user of each rating.
        values: [R] ratings.
        residuals: [R] ratings minus ``spec.offset`` and the items' level biases.
        n_users: rows of the result.
    """

    def by_user(weights: Float64Array | None = None) -> Float64Array:
        return np.bincount(users, weights, minlength=n_users).astype(np.float64)

    numbers, totals = by_user(), by_user(residuals)
    left = residuals - (totals / (numbers + spec.shrinkage))[users]
    columns = [totals / (numbers + shrinkage) for shrinkage in spec.level_shrinkages]
    levels = rating_levels(values, rating_range=spec.rating_range, count=len(spec.level_shares) + 1)
    for level, share in enumerate(spec.level_shares):
        has = (levels == level).astype(np.float64)
        columns.append((by_user(has) + spec.shrinkage * share) / (numbers + spec.shrinkage))
    columns.append(np.sqrt((by_user(left**2) + spec.shrinkage * spec.spread) / (numbers + spec.shrinkage)))
    columns.append(np.log1p(numbers))
    return np.stack(columns, axis=1)


def rating_shape_parts(
    spec: RatingShapeSpec, values: Float64Array, residuals: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """The summands of one user's :func:`rating_shape`: a base [spec.dim] and parts of ratings [R, spec.dim].

    Means are sums. A spread is its variance divided by itself, and a variance is a sum. ln(1 + R) is shared equally.
    """
    number = len(values)
    parts = [residuals / (number + shrinkage) for shrinkage in spec.level_shrinkages]
    base = [0.0] * len(parts)
    levels = rating_levels(values, rating_range=spec.rating_range, count=len(spec.level_shares) + 1)
    for level, share in enumerate(spec.level_shares):
        parts.append((levels == level) / (number + spec.shrinkage))
        base.append(spec.shrinkage * share / (number + spec.shrinkage))
    variances = (residuals - residuals.sum() / (number + spec.shrinkage)) ** 2 / (number + spec.shrinkage)
    held = spec.shrinkage * spec.spread / (number + spec.shrinkage)
    spread = float(np.sqrt(variances.sum() + held))
    parts.append(variances / spread if spread > 0 else variances)
    base.append(held / spread if spread > 0 else 0.0)
    parts.append(np.full(number, np.log1p(number) / number))
    base.append(0.0)
    return np.array(base), np.stack(parts, axis=1)


def rating_levels(values: Float64Array, *, rating_range: tuple[float, float], count: int) -> Int64Array:
    """The nearest of ``count`` evenly spaced ratings, 0 the lowest; of five, one star each on a scale from 1 to 5."""
    lowest, highest = rating_range
    places = (values - lowest) / (highest - lowest) * (count - 1)
    return np.clip(np.floor(places + 0.5), 0, count - 1).astype(np.int64)
