"""Base model of one domain: matrix factorisation by stochastic gradient (paper, section 4.1: "MF", k = 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffcdr.errors import InputError
from training.base_models.config import MFConfig
from training.base_models.row_table import RowTable
from training.fitting.checkpoint import CheckpointFile, run_settings
from training.fitting.loop import Progress, Training, run_epochs
from training.problem import FactorTables, RatingTensors, rating_tensors
from training.rating_table import RatingTable


class MatrixFactorization(nn.Module):
    """rating(u, j) ~ offset + user row . item row.

    With biases the rows are [vector, b_u, 1] and [vector, 1, b_j]; the ones are held fixed.
    """

    def __init__(self, table: RatingTable, config: MFConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dim = config.dim
        self.biases = config.biases
        self.weight_decay = config.weight_decay
        self.with_zeros = config.negatives > 0
        self.offset = float(rating_tensors(table).ratings.double().mean()) if config.biases else 0.0
        self.users = self._table(table.n_users, config, fixed=config.dim + 1, generator=generator)
        self.items = self._table(table.n_items, config, fixed=config.dim, generator=generator)

    def epoch(self, table: RatingTensors, *, batch_size: int, generator: torch.Generator) -> dict[str, float]:
        """Go through ``table`` once, shuffled; returns the mean squared error of ratings before their steps."""
        order = torch.randperm(len(table.ratings), generator=generator)
        columns = [torch.split(column[order], batch_size) for column in table.all()]
        total = torch.zeros((), dtype=torch.float64)
        for users, items, ratings in zip(*columns, strict=True):
            total += self.descend(users, items, ratings)
        self.users.apply_pending()
        self.items.apply_pending()
        return {"mse": float(total) / len(table.ratings)}

    def descend(self, users: Tensor, items: Tensor, ratings: Tensor) -> Tensor:
        """One step on a batch of ratings, [B] each; returns the sum of their squared errors before it."""
        user_rows, item_rows = self.users.take(users), self.items.take(items)
        errors, user_gradient, item_gradient = self.gradients(user_rows.of_batch(), item_rows.of_batch(), ratings)
        self.users.descend(user_rows, user_gradient)
        self.items.descend(item_rows, item_gradient)
        return errors.square().sum()

    def gradients(self, user_rows: Tensor, item_rows: Tensor, ratings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Errors [B], and the loss's gradients at the user and the item row of each rating, [B, dim (+ 2)].

        The loss is the mean over the batch of error^2 + weight_decay (|user row|^2 + |item row|^2), ones left out.
        """
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
            vectors, biases = items, items.new_zeros(len(items))
        else:
            k = self.dim
            users, vectors, biases = users[:, : k + 1], items[:, : k + 1], items[:, k + 1]
        return FactorTables(users.clone(), vectors.clone(), biases.clone(), self.offset, with_zeros=self.with_zeros)

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
    model, columns = MatrixFactorization(table, config, generator=generator), rating_tensors(table)

    run_epochs(
        Training(
            module=model,
            optimizers=[],
            train_epoch=lambda generator: model.epoch(columns, batch_size=config.batch_size, generator=generator),
            rows=len(table),
        ),
        epochs=config.epochs,
        select_by=None,
        generator=generator,
        settings=run_settings("mf", config, generator=generator, data=columns.all()),
        progress=progress,
        checkpoint=checkpoint,
    )
    return model.tables()
