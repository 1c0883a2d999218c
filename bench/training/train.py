"""Bench ``train``: epochs of Alg. 1 with an affine DIM, against the same updates with the solver written out.

Sizes follow Amazon's films and music (items, ratings of a user); the values are drawn, as a step's cost depends on
shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bench.harness import Comparison, Point, Row, Size
from bench.machine import sgemm_rate
from bench.training.transfer import plain_solve
from training.models.network.affine_updates import AffineUpdates
from training.models.network.alternating import AlternatingUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan
from training.problem import FactorTables, HeldOut, TransferProblem
from training.rating_table import RatingTable

NAME = "train"
ITEMS, RATINGS_OF_A_USER, DIM = 4_538, 44, 10
RELEASED = DiffCDRConfig(
    activation="none", rows="ratings", time_features=128, time_frequencies="to_the_end", dim_loss="smooth_l1"
)
"""As the released code trains."""


class PlainUpdates(AlternatingUpdates):
    """Alg. 1 with line 9 as it stands: every evaluation of the solver is two forward passes of the DIM."""

    def __init__(self, network: DiffCDRNetwork, config: DiffCDRConfig, *, problem: TransferProblem) -> None:
        super().__init__(network, config, problem=problem)
        self._written_out = (network, solver_plan(config), config.guidance_scale)

    def _solved(self, source: Tensor) -> Tensor:
        network, plan, scale = self._written_out
        return plain_solve(network, plan, source, guidance_scale=scale)


def bench(size: Size) -> Iterator[Row]:
    """Batches of ratings, as the released code's, and of users, as the paper's."""
    yield compare("batches of 128 ratings, NFE 30", RELEASED, batches=33 if size == "full" else 11, floor=6.0)
    if size == "full":
        paper = DiffCDRConfig(activation="none")
        yield compare("batches of 128 users, NFE 30", paper, batches=11, floor=5.0)
        for nfe in (1, 3, 10, 30, 100):
            swept = RELEASED.model_copy(update={"nfe": nfe})
            point = Point("batches of 128 ratings", "NFE", nfe, _limit(swept))
            yield compare(f"batches of 128 ratings, NFE {nfe}", swept, batches=11, floor=None, point=point)
        for rows in (32, 128, 512, 2_048):
            swept = RELEASED.model_copy(update={"batch_size": rows})
            point = Point("NFE 30", "ratings a batch", rows, _limit(swept))
            yield compare(f"batches of {rows:,} ratings, NFE 30", swept, batches=6, floor=None, point=point)


def _limit(config: DiffCDRConfig) -> float:
    """Rows a second if all were the products of the DIM, once forward and twice that back, without the solver."""
    hidden = config.hidden_dim
    layers = config.time_features * DIM + DIM * DIM + 2 * DIM * hidden + hidden * hidden
    return sgemm_rate(config.batch_size, hidden, hidden) / (3 * 2.0 * layers)


def compare(case: str, config: DiffCDRConfig, *, batches: int, floor: float | None, point: Point | None = None) -> Row:
    """An epoch of ``batches`` whole batches."""
    problem = drawn_problem(config, batches=batches)

    def epochs(kind: type[AlternatingUpdates]) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        network = DiffCDRNetwork(config, source_dim=DIM, target_dim=DIM, generator=generator)
        updates = kind(network, config, problem=problem)
        return lambda: updates.epoch(generator)

    return Comparison(
        bench=NAME,
        case=case,
        ours=epochs(AffineUpdates),
        baseline=epochs(PlainUpdates),
        amount=batches * config.batch_size,
        unit="rows/s",
        floor=floor,
        repeats=3,
        point=point,
    ).run()


def drawn_problem(config: DiffCDRConfig, *, batches: int) -> TransferProblem:
    """Users with drawn vectors and ratings, so many that an epoch has ``batches`` whole batches."""
    generator = torch.Generator().manual_seed(0)
    rows = batches * config.batch_size
    n_users = rows if config.rows == "users" else -(-rows // RATINGS_OF_A_USER)
    n_ratings = rows if config.rows == "ratings" else rows * RATINGS_OF_A_USER
    users = (np.arange(n_ratings) * n_users) // n_ratings
    items = torch.randint(ITEMS, (n_ratings,), generator=generator).numpy()
    ratings = torch.randint(1, 6, (n_ratings,), generator=generator).float().numpy()
    table = RatingTable(users, items, ratings, n_users, ITEMS)

    def base() -> FactorTables:
        vectors = torch.randn(n_users + ITEMS, DIM, generator=generator)
        return FactorTables(vectors[:n_users], vectors[n_users:], torch.zeros(ITEMS), 3.5)

    everyone, nobody = torch.arange(n_users), torch.zeros(0, dtype=torch.int64)
    unused = table.take(np.zeros(n_ratings, dtype=bool))
    return TransferProblem(
        source=table,
        target=table,
        source_base=base(),
        target_base=base(),
        overlap_source=everyone,
        overlap_target=everyone,
        validation=HeldOut(nobody, unused),
        rating_range=(1.0, 5.0),
    )
