"""EASE (Steck 2019) on both domains together: an item-item model with a closed-form solution.

With the rows Z = [X Y] of the training users, P = (Z'Z + strength I)^-1, and B_ij = -P_ij / P_jj off the diagonal: B is
the least-squares map Z ~ Z B with zeros on the diagonal. What is used is its block from source to target items. It is
solved over users or over items, whichever are fewer: with M = (Z Z' + strength I)^-1 over users,

    B_ij = x_i' M y_j / (1 - y_j' M y_j)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from training.models.contract import fitted
from training.models.interactions.histories import Histories, check_square
from training.models.interactions.linear import LinearModel, LinearScores
from training.setting_types import Settings

Floats = npt.NDArray[np.float64]
SMALLEST = 1e-9
ITEMS_AT_ONCE = 2048


class EASEConfig(Settings):
    """EASE on both domains side by side, section ``[ease]``."""

    strengths: tuple[float, ...] = Field(default=(300.0, 30.0, 100.0, 1000.0, 3000.0), min_length=1)
    """L2 penalty to choose from on the validation users."""
    dim: int = Field(default=1024, ge=1, le=4096)
    """Dimensions of what is served: the best approximation of so many."""
    max_square: int = Field(default=16_000, ge=1)
    """Most users, or items of both domains, whose square matrix is solved: the fewer of the two counts."""


@dataclass(frozen=True)
class EASEChoice:
    """What was chosen on the validation users."""

    strength: float


class EASE(LinearModel[EASEChoice]):
    """See the module."""

    name = "ease"

    def __init__(self, config: EASEConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim

    def choices(self) -> Sequence[EASEChoice]:
        """Every strength."""
        return [EASEChoice(strength) for strength in self.config.strengths]

    def scorer(self, histories: Histories, *, seed: int) -> Callable[[EASEChoice], LinearScores]:
        """One factorisation for each strength."""
        source, target = histories.source, histories.target
        (users, items), others = source.shape, target.shape[1]
        check_square(
            min(users, items + others),
            limit=self.config.max_square,
            model=self.name,
            what=f"shared users or items, the fewer of {users:,} and {items + others:,}",
            instead="use itemknn, which has no such square",
        )
        over = over_users if users <= items + others else over_items
        weights, biases = np.ones(items), np.zeros(others)
        return lambda choice: LinearScores(weights, over(source, target, choice.strength), biases)

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}


def over_users(source: sparse.csr_array, target: sparse.csr_array, strength: float) -> LinearOperator:
    """B [m, n] of ``source`` [O, m] and ``target`` [O, n] by way of a square of users."""
    inverse = _inverse((source @ source.T + target @ target.T).toarray(), strength)
    columns = sparse.csc_array(target)
    fitted_share = np.empty(target.shape[1])
    for start in range(0, len(fitted_share), ITEMS_AT_ONCE):
        part = slice(start, start + ITEMS_AT_ONCE)
        own = columns[:, part]
        fitted_share[part] = own.multiply(inverse @ own).sum(axis=0)
    scale = 1.0 / np.maximum(1.0 - fitted_share, SMALLEST)
    scaled = sparse.csr_array(target @ sparse.diags_array(scale))
    return aslinearoperator(sparse.csr_array(source.T)) @ aslinearoperator(inverse) @ aslinearoperator(scaled)


def over_items(source: sparse.csr_array, target: sparse.csr_array, strength: float) -> LinearOperator:
    """The same by way of a square of items."""
    both = sparse.hstack([source, target], format="csr")
    inverse = _inverse((both.T @ both).toarray(), strength)
    items = source.shape[1]
    return aslinearoperator(-inverse[:items, items:] / np.diag(inverse)[items:])


def _inverse(gram: Floats, strength: float) -> Floats:
    gram[np.diag_indices(len(gram))] += strength
    return np.asarray(cho_solve(cho_factor(gram, lower=True), np.eye(len(gram))), dtype=np.float64)
