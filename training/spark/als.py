"""Both domains' base models by Spark's ALS: of interactions (implicit feedback) or of ratings (explicit).

Executors map slices of the prepared arrays; nobody reads them whole. Item tables have to fit into one machine's memory,
user tables have not: they go through files.

Spark weighs its penalty by the number of ratings of a user or item (Zhou et al. 2008), the local model of interactions
does not: ``regParam`` is its strength over the mean number of ratings a user has. At the end each user vector is solved
again exactly, against the final items and with the local penalty, so that it is what a fold-in of the user's items
gives.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession

from diffcdr.errors import InputError
from training.base_models.config import ALSConfig, MFConfig
from training.problem import ImplicitFeedback
from training.run.base_store import BaseFit, BaseTask, FitBase
from training.spark.arrow import Work, on_numbers
from training.spark.session import ask_executors, clear_failures, open_session
from training.spark.slices import (
    FACTORS,
    TRIPLES,
    Levels,
    RatingSlice,
    check_readable,
    half_step_batches,
    rating_batches,
    rating_slices,
    read_slice,
)

EXPLICIT_ITERATIONS = 10
LEVEL_ROUNDS = 5
CHECKPOINT_EVERY = 2
"""Iterations, after which Spark forgets how it got there."""
CHECKPOINTS = ".checkpoints"
MAX_ROWS = 2**31 - 1
"""Spark's ALS numbers users and items by 32-bit integers."""
STREAM_ROWS = 100_000


@contextmanager
def open_fits(master: str | None, settings: Sequence[str] = ()) -> Iterator[FitBase]:
    """:func:`fit_on_spark` on a session that lives as long as the block; raises as :func:`open_session`."""
    with open_session(master, settings) as session:
        yield partial(fit_on_spark, session)


def fit_on_spark(session: SparkSession, task: BaseTask, out: Path) -> BaseFit:
    """Fit the base model ``task`` to the folder ``out``, which executors see under the same path.

    Settings of :class:`MFConfig` mean ALS of ratings: ``dim``, ``biases`` and ``weight_decay``, the penalty per rating;
    those of its optimiser mean nothing here.

    Raises:
        InputError: the settings leave the problem open, there are too many rows, or Spark gives up.
    """
    if max(task.n_users, task.n_items) > MAX_ROWS:
        raise InputError(f"Spark's ALS takes {MAX_ROWS:,} users and items at most; {task.folder} has more")
    ask_executors(session, partial(check_readable, folder=task.folder))
    fit = _Fit(session, task, out)
    try:
        with clear_failures(f"fitting {task.name}"):
            if isinstance(task.config, ALSConfig):
                return fit.interactions(task.config)
            return fit.ratings(task.config)
    finally:
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


class _Fit:
    """One base model on its way: the slices of its ratings, and where its tables go."""

    def __init__(self, session: SparkSession, task: BaseTask, out: Path) -> None:
        self._session, self._task, self._out = session, task, out
        self._parts = rating_slices(task.folder, n_users=task.n_users, at_least=session.sparkContext.defaultParallelism)

    def interactions(self, config: ALSConfig) -> BaseFit:
        """Implicit feedback: every rating is one interaction, whatever its value."""
        task, out = self._task, self._out
        dim = max(1, min(task.dim, task.n_users - 1, task.n_items - 1))
        als = self._als(
            dim,
            iterations=config.iterations,
            # Spark's alpha is what an interaction counts above one that is not there.
            alpha=config.confidence - 1.0,
            penalty=config.regularisation * task.n_users / task.rows,
        )
        model = self._factorise(als, levels=None)
        items = self._stream(model.itemFactors, rows=task.n_items, dim=dim, name="item_vectors")
        np.save(out / "item_biases.npy", np.zeros(task.n_items, dtype=np.float32))
        solve = partial(
            half_step_batches,
            folder=task.folder,
            parts=self._parts,
            held=task.held,
            items=items,
            confidence=config.confidence,
            regularisation=config.regularisation,
        )
        self._stream(self._on_slices(solve, FACTORS), rows=task.n_users, dim=dim, name="user_vectors")
        return BaseFit(0.0, ImplicitFeedback(config.confidence, config.regularisation))

    def ratings(self, config: MFConfig) -> BaseFit:
        """Ratings less the levels of users and items; a user's level becomes one more dimension."""
        task, out = self._task, self._out
        if not config.weight_decay > 0.0:
            raise InputError(
                "ALS of ratings needs a penalty, as users with fewer ratings than dimensions have no unique solution; "
                "give one such as --set base.weight_decay=0.15, to base and to train"
            )
        levels = Levels(0.0, np.zeros(task.n_users), np.zeros(task.n_items))
        if config.biases:
            levels = fit_levels(task, self._parts, penalty=config.weight_decay)
        als = self._als(config.dim, iterations=EXPLICIT_ITERATIONS, penalty=config.weight_decay)
        more = (levels.users, 1.0) if config.biases else (None, None)
        model = self._factorise(als, levels=levels)
        self._stream(model.userFactors, rows=task.n_users, dim=config.dim, name="user_vectors", last=more[0])
        self._stream(model.itemFactors, rows=task.n_items, dim=config.dim, name="item_vectors", last=more[1])
        np.save(out / "item_biases.npy", levels.items.astype(np.float32))
        return BaseFit(levels.offset)

    def _als(self, dim: int, *, iterations: int, penalty: float, alpha: float | None = None) -> ALS:
        """Of interactions that weigh ``alpha`` more than what is not there, or of ratings."""
        blocks = max(2, self._session.sparkContext.defaultParallelism)
        sequence = np.random.SeedSequence(entropy=self._task.seed, spawn_key=tuple(self._task.name.encode()))
        return ALS(
            rank=dim,
            maxIter=iterations,
            regParam=penalty,
            numUserBlocks=blocks,
            numItemBlocks=blocks,
            userCol="user",
            itemCol="item",
            ratingCol="value",
            seed=int(sequence.generate_state(1)[0]),
            checkpointInterval=CHECKPOINT_EVERY,
            implicitPrefs=alpha is not None,
            alpha=1.0 if alpha is None else alpha,
        )

    def _factorise(self, als: ALS, *, levels: Levels | None) -> ALSModel:
        read = partial(rating_batches, folder=self._task.folder, parts=self._parts, held=self._task.held, levels=levels)
        # Without checkpoints the plan of the last iteration holds all before, too deep for Java's stack to send.
        self._session.sparkContext.setCheckpointDir(str(self._out / CHECKPOINTS))
        return als.fit(self._on_slices(read, TRIPLES))

    def _on_slices(self, work: Work, schema: pa.Schema) -> DataFrame:
        return on_numbers(self._session, len(self._parts), work, schema)

    def _stream(
        self, factors: DataFrame, *, rows: int, dim: int, name: str, last: npt.NDArray[np.float64] | float | None = None
    ) -> Path:
        """Write (id, features) rows as a table ``name``.npy by way of files; rows that are not there are zeros.

        ``last``: one more column, where given.
        """
        scratch, path = self._out / f".{name}.scratch", self._out / f"{name}.npy"
        factors.write.parquet(str(scratch))
        shape = (rows, dim + (last is not None))
        table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for file in sorted(scratch.glob("part-*.parquet")):
            with pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(STREAM_ROWS):
                    values = batch.column("features").flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
                    if not np.isfinite(values).all():
                        raise InputError(f"base model {self._task.name} diverged; give it more regularisation")
                    table[batch.column("id").to_numpy(), :dim] = values
        if last is not None:
            table[:, dim] = last
        table.flush()
        shutil.rmtree(scratch)
        return path


def fit_levels(task: BaseTask, parts: Sequence[RatingSlice], *, penalty: float) -> Levels:
    """The mean, and user and item biases by turns: sum (r - mean - b_u - b_i)^2 + penalty (b_u^2 + b_i^2) over ratings.

    Streams the ratings ``2 * LEVEL_ROUNDS + 1`` times through the driver; nothing but the biases stays in memory.
    """

    def sums(levels: Levels, *, of_users: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        size = task.n_users if of_users else task.n_items
        total, count = np.zeros(size), np.zeros(size)
        for part in parts:
            ratings = read_slice(task.folder, part, held=task.held)
            whose = ratings.users if of_users else ratings.items
            total += np.bincount(whose, levels.residuals(ratings), minlength=size)
            count += np.bincount(whose, minlength=size)
        return total, count

    users, items = np.zeros(task.n_users), np.zeros(task.n_items)
    total, count = sums(Levels(0.0, users, items), of_users=False)
    if not count.any():
        raise InputError("a base model needs ratings and there are none; check the rating file and its cleaning")
    offset = float(total.sum() / count.sum())
    for _ in range(LEVEL_ROUNDS):
        for of_users in (False, True):
            without = Levels(
                offset, users if not of_users else np.zeros_like(users), items if of_users else np.zeros_like(items)
            )
            total, count = sums(without, of_users=of_users)
            biases = total / np.maximum(count * (1.0 + penalty), 1.0)
            users, items = (biases, items) if of_users else (users, biases)
    return Levels(offset, users, items)
