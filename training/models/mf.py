"""Base model of one domain: matrix factorisation by stochastic gradient (paper, section 4.1: "MF", k = 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from diffcdr.errors import InputError
from training.fit.checkpoint import CheckpointFile
from training.fit.identity import run_settings
from training.fit.loop import Training, run_epochs
from training.models.base import FactorTables, Progress, RatingTable
from training.models.configs import MFConfig


class RowTable(nn.Module):
    """A table of vectors of which a batch touches few rows, with the state of its Adam beside it.

    Only a batch's rows are read and written, so a step's cost does not grow with the table. Rows that are not in a
    batch keep their value and their moments (as ``torch.optim.SparseAdam``, whose result this is at a fraction of the
    time); with ``lazy=False`` every row moves on its momentum at every step (plain Adam).
    """

    values: Tensor
    momentum: Tensor
    variance: Tensor
    step: Tensor

    def __init__(self, values: Tensor, *, lr: float, lazy: bool) -> None:
        """``values`` [n, d]: where it starts."""
        super().__init__()
        self.lr = lr
        self.lazy = lazy
        self.register_buffer("values", values)
        self.register_buffer("momentum", torch.zeros_like(values))
        self.register_buffer("variance", torch.zeros_like(values))
        self.register_buffer("step", torch.zeros(()))

    def descend(self, rows: Tensor, gradients: Tensor) -> None:
        """One Adam step. ``gradients`` [B, d] belong to ``rows`` int64 [B]; those of one row are added up."""
        if not self.lazy:
            total = torch.zeros_like(self.values).index_add_(0, rows, gradients)
            self._adam(self.values, total, self.momentum, self.variance)
            return
        touched, position = torch.unique(rows, return_inverse=True)
        total = gradients.new_zeros((len(touched), gradients.shape[1])).index_add_(0, position, gradients)
        state = [table.index_select(0, touched) for table in (self.values, self.momentum, self.variance)]
        self._adam(state[0], total, state[1], state[2])
        for table, part in zip((self.values, self.momentum, self.variance), state, strict=True):
            table.index_copy_(0, touched, part)

    def _adam(self, values: Tensor, gradients: Tensor, momentum: Tensor, variance: Tensor) -> None:
        adam(
            [values],
            [gradients],
            [momentum],
            [variance],
            [],
            [self.step],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class MatrixFactorization(nn.Module):
    """rating(u, j) ~ offset + user row . item row.

    With biases the rows are [vector, b_u, 1] and [vector, 1, b_j]; the ones are held fixed.
    """

    def __init__(self, table: RatingTable, config: MFConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dim = config.dim
        self.biases = config.biases
        self.weight_decay = config.weight_decay
        self.offset = float(table.ratings.double().mean()) if config.biases else 0.0
        self.users = self._table(table.n_users, config, fixed=config.dim + 1, generator=generator)
        self.items = self._table(table.n_items, config, fixed=config.dim, generator=generator)

    def descend(self, users: Tensor, items: Tensor, ratings: Tensor) -> Tensor:
        """One step on a batch of ratings, [B] each; returns the sum of their squared errors before it."""
        errors, user_gradient, item_gradient = self.gradients(users, items, ratings)
        self.users.descend(users, user_gradient)
        self.items.descend(items, item_gradient)
        return errors.square().sum()

    def gradients(self, users: Tensor, items: Tensor, ratings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Errors [B], and the loss's gradients at the user and the item row of each rating, [B, dim (+ 2)].

        The loss is the mean over the batch of error^2 + weight_decay (|user row|^2 + |item row|^2), ones left out.
        """
        user_rows, item_rows = self.users.values[users], self.items.values[items]
        errors = (user_rows * item_rows).sum(dim=1) + (self.offset - ratings)
        slope = (2.0 / len(ratings)) * errors[:, None]
        decay = 2.0 / len(ratings) * self.weight_decay
        user_gradient = torch.addcmul(decay * user_rows, slope, item_rows)
        item_gradient = torch.addcmul(decay * item_rows, slope, user_rows)
        if self.biases:
            user_gradient[:, self.dim + 1] = 0.0
            item_gradient[:, self.dim] = 0.0
        return errors, user_gradient, item_gradient

    def tables(self) -> FactorTables:
        """The result; a user bias is one more dimension, in which every item has 1."""
        users, items = self.users.values, self.items.values
        if not self.biases:
            return FactorTables(users.clone(), items.clone(), items.new_zeros(len(items)), self.offset)
        k = self.dim
        return FactorTables(users[:, : k + 1].clone(), items[:, : k + 1].clone(), items[:, k + 1].clone(), self.offset)

    @staticmethod
    def _table(rows: int, config: MFConfig, *, fixed: int, generator: torch.Generator) -> RowTable:
        values = torch.zeros(rows, config.dim + 2 * int(config.biases))
        values[:, : config.dim] = config.init_std * torch.randn(rows, config.dim, generator=generator)
        if config.biases:
            values[:, fixed] = 1.0
        return RowTable(values, lr=config.lr, lazy=config.optimizer == "sparse_adam")


def fit_mf(
    table: RatingTable,
    config: MFConfig,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: CheckpointFile | None = None,
) -> FactorTables:
    """Factorise ``table``: minimise the squared error over its ratings, keep the last epoch.

    Users and items without ratings keep their untrained vectors, N(0, init_std^2): their gradient is zero.

    Raises:
        InputError: there are no ratings, training diverges, or ``checkpoint`` belongs to another run.
    """
    if not len(table):
        raise InputError("a base model needs ratings and there are none; check the rating file and its cleaning")
    model = MatrixFactorization(table, config, generator=generator)

    def train_epoch(generator: torch.Generator) -> dict[str, float]:
        order = torch.randperm(len(table), generator=generator)
        columns = (table.users[order], table.items[order], table.ratings[order])
        total = torch.zeros((), dtype=torch.float64)
        for users, items, ratings in zip(*(torch.split(column, config.batch_size) for column in columns), strict=True):
            total += model.descend(users, items, ratings)
        return {"mse": float(total) / len(table)}

    run_epochs(
        Training(module=model, optimizers=[], train_epoch=train_epoch, rows=len(table)),
        epochs=config.epochs,
        select_by=None,
        generator=generator,
        settings=run_settings("mf", config, generator=generator, data=[table.users, table.items, table.ratings]),
        progress=progress,
        checkpoint=checkpoint,
    )
    return model.tables()
