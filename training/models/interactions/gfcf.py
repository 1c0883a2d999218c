"""GF-CF (Shen et al. 2021) on both domains together: two graph filters of a user's row, without training.

With the rows Z = [X Y] of the training users, their degrees D_u and those of the items D, and
Z~ = D_u^-1/2 Z D^-1/2 with its leading right singular vectors U:

    scores(x) = x Z~' Z~ + low_pass x D^-1/2 U U' D^1/2

of which the block from source to target items is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from training.models.contract import fitted
from training.models.interactions.histories import Histories
from training.models.interactions.linear import LinearModel, LinearScores, leading_directions
from training.setting_types import Settings


class GFCFConfig(Settings):
    """GF-CF on both domains side by side, section ``[gfcf]``. Lists are grids, chosen from on the validation users."""

    low_pass_weights: tuple[float, ...] = Field(default=(0.3, 0.0, 0.1, 1.0), min_length=1)
    """Weight of the ideal low-pass filter beside the linear one."""
    low_pass_dims: tuple[int, ...] = Field(default=(256, 64), min_length=1)
    """Singular vectors that the ideal low-pass filter keeps."""
    dim: int = Field(default=1024, ge=1, le=4096)
    """Dimensions of what is served: the best approximation of so many."""


@dataclass(frozen=True)
class GFCFChoice:
    """What was chosen on the validation users."""

    low_pass_weight: float
    low_pass_dim: int


class GFCF(LinearModel[GFCFChoice]):
    """See the module."""

    name = "gfcf"

    def __init__(self, config: GFCFConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim

    def choices(self) -> Sequence[GFCFChoice]:
        """Every combination."""
        config = self.config
        return [GFCFChoice(*values) for values in product(config.low_pass_weights, config.low_pass_dims)]

    def scorer(self, histories: Histories, *, seed: int) -> Callable[[GFCFChoice], LinearScores]:
        """One decomposition, of the most vectors."""
        items = histories.source.shape[1]
        both = sparse.hstack([histories.source, histories.target], format="csr")
        users, degrees = _degrees(both, axis=1), _degrees(both, axis=0)
        filtered = sparse.csr_array(sparse.diags_array(users**-0.5) @ both @ sparse.diags_array(degrees**-0.5))
        leading = leading_directions(aslinearoperator(filtered), max(self.config.low_pass_dims), seed=seed)
        ingoing, outgoing = leading / np.sqrt(degrees)[:, None], leading * np.sqrt(degrees)[:, None]
        linear = aslinearoperator(sparse.csr_array(filtered[:, :items].T)) @ aslinearoperator(filtered[:, items:])

        def scores(choice: GFCFChoice) -> LinearScores:
            dim, weight = choice.low_pass_dim, choice.low_pass_weight
            low = aslinearoperator(weight * ingoing[:items, :dim]) @ aslinearoperator(outgoing[items:, :dim].T)
            return LinearScores(np.ones(items), linear + low, np.zeros(both.shape[1] - items))

        return scores

    def details(self) -> dict[str, Any]:
        """The settings, and what was chosen."""
        return {**self.config.model_dump(mode="json"), **asdict(fitted(self._choice))}


def _degrees(matrix: sparse.csr_array, *, axis: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.maximum(np.asarray(matrix.sum(axis=axis)).ravel(), 1.0)
