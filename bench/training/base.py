"""Bench ``base``: matrix factorisation that touches a batch's rows only, against Adam over the whole tables.

Tables of the paper's third task (604 K users, 368 K items, k = 10 and biases); ratings are drawn. A step's cost
depends on the batch and the tables, not on how many ratings there are. Both sides take the steps of Adam, as the
presets do: ours makes up for a row's idle steps when it is next in a batch. The full form also runs a whole epoch of
that task, and holds its time and its memory to limits.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.harness import Comparison, Point, Row, Size, limit_row
from bench.machine import copy_rate
from bench.training.epoch import drawn_table, measure_epoch
from training.base_models.config import MFConfig
from training.base_models.mf import MatrixFactorization
from training.problem import rating_tensors
from training.rating_table import RatingTable

NAME = "base"
USERS, ITEMS, BATCH = 604_000, 368_000, 512
STEPS = 50
RATINGS, LIMIT_S, LIMIT_GB = 8_900_000, 60.0, 3.0
CONFIG = MFConfig(optimizer="adam")


def bench(size: Size) -> Iterator[Row]:
    """The paper's largest task; then growing tables, and growing batches."""
    yield compare(users=USERS, items=ITEMS, batch=BATCH, floor=20.0)
    if size == "full":
        yield from limited(ratings=RATINGS, users=USERS, items=ITEMS)
        for share in (1_000, 100, 10, 1):
            users, items = USERS // share, ITEMS // share
            point = Point(f"batch {BATCH}", "rows of both tables", users + items, _limit(users, items))
            yield compare(users=users, items=items, batch=BATCH, floor=None, point=point)
        for batch in (64, 512, 4_096, 32_768):
            point = Point(f"{USERS:,} users, {ITEMS:,} items", "batch", batch, _limit(USERS, ITEMS))
            yield compare(users=USERS, items=ITEMS, batch=batch, floor=None, point=point)


def _limit(users: int, items: int) -> float:
    """Ratings a second if all that a rating takes were to read and write two rows and both their moments."""
    row = 4 * (CONFIG.dim + 2)
    return copy_rate((users + items) * row) / (2 * 3 * 2 * row)


def limited(*, ratings: int, users: int, items: int) -> Iterator[Row]:
    """One epoch, in a process of its own: seconds and peak memory, and what they may be at most."""
    epoch = measure_epoch(ratings=ratings, users=users, items=items)
    for taken, limit, what, unit in (
        (epoch.seconds, LIMIT_S, "seconds", "s"),
        (epoch.peak_gb, LIMIT_GB, "peak memory", "GB"),
    ):
        case = f"{what} of an epoch of {ratings:,} ratings, {users:,} users, {items:,} items, against the limit"
        yield limit_row(NAME, case, figure=taken, limit=limit, unit=unit, floor=1.0)


def compare(*, users: int, items: int, batch: int, floor: float | None, point: Point | None = None) -> Row:
    """``STEPS`` steps of ours against one dense step."""
    generator = torch.Generator().manual_seed(0)
    table = drawn_table(ratings=STEPS * batch, users=users, items=items)
    ours = MatrixFactorization(table, CONFIG, generator=generator)
    plain = PlainFactorization(table, CONFIG, generator=generator)
    columns = [torch.split(column, batch) for column in rating_tensors(table).all()]

    def own_steps() -> None:
        for part in zip(*columns, strict=True):
            ours.descend(*part)

    return Comparison(
        bench=NAME,
        case=f"{users:,} users, {items:,} items, batch {batch:,}",
        ours=own_steps,
        baseline=lambda: plain.descend(*(parts[0] for parts in columns)),
        amount=STEPS * batch,
        baseline_amount=batch,
        unit="ratings/s",
        floor=floor,
        repeats=3,
        point=point,
    ).run()


class PlainFactorization(nn.Module):
    """The same model as one writes it first: embeddings, autograd, ``torch.optim.Adam``."""

    def __init__(self, table: RatingTable, config: MFConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self._offset = float(rating_tensors(table).ratings.mean())
        rows = (table.n_users, table.n_items)
        self.vectors = nn.ModuleList(nn.Embedding(n, config.dim, device="meta") for n in rows).to_empty(device="cpu")
        self.biases = nn.ModuleList(nn.Embedding(n, 1, device="meta") for n in rows).to_empty(device="cpu")
        with torch.no_grad():
            for table_of_vectors in self.vectors.parameters():
                table_of_vectors.copy_(config.init_std * torch.randn(table_of_vectors.shape, generator=generator))
            for table_of_biases in self.biases.parameters():
                table_of_biases.zero_()
        self._adam = torch.optim.Adam(self.parameters(), lr=config.lr)

    def descend(self, users: Tensor, items: Tensor, ratings: Tensor) -> Tensor:
        """One step on a batch of ratings, [B] each; returns the sum of their squared errors before it."""
        products = (self.vectors[0](users) * self.vectors[1](items)).sum(dim=1)
        biases = (self.biases[0](users) + self.biases[1](items)).squeeze(1)
        errors: Tensor = products + biases + self._offset - ratings
        self._adam.zero_grad()
        torch.autograd.backward(errors.square().mean())
        self._adam.step()
        return errors.detach().square().sum()
