"""Settings of the base models, section ``[base]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.setting_types import Dim, Settings


class MFConfig(Settings):
    """Base matrix factorisation of one domain, section ``[base]``.

    Released code: dim 10, no biases, init_std 1, lr 0.01, 10 epochs, batch 256 (512 for Amazon books), ``adam``.
    """

    kind: Literal["mf"] = "mf"
    dim: int = Field(default=10, ge=1, le=1024)
    """k, before a user bias is added as one more dimension (see ``biases``)."""
    biases: bool = True
    """Global mean, user and item biases. The user bias becomes a last dimension whose item entry is 1: k + 1 in all."""
    init_std: float = Field(default=0.1, gt=0.0)
    """Vectors start at N(0, init_std^2), biases at 0."""
    lr: float = Field(default=0.01, gt=0.0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=256, ge=1)
    weight_decay: float = Field(default=0.0, ge=0.0)
    """L2 penalty per rating: weight_decay * (|u|^2 + |v|^2 + b_u^2 + b_v^2) is added to its squared error."""
    optimizer: Literal["sparse_adam", "adam"] = "sparse_adam"
    """``adam``: every row moves on its momentum at every step; ``sparse_adam``: a batch's rows alone.

    Neither's cost grows with the tables: see :class:`training.base_models.row_table.RowTable`.
    """
    negatives: int = Field(default=0, ge=0, le=100)
    """For each rating, draws among what its user has not rated, learnt as ratings of 0: by the base models, and by
    every model that learns from ratings or from their vectors, the same draws for all. Scores then order items and
    predict no rating (paper, section 4.1: "adding same negative samples to each CDR models", for the ranking metrics).
    """


class ALSConfig(Settings):
    """Base model of interactions, section ``[base]``: implicit-feedback ALS (Hu, Koren and Volinsky 2008).

    What counts is which items a user rated, not how: every rating is one interaction, or with ``positive_threshold``
    every like.
    """

    kind: Literal["als"] = "als"
    dim: Dim | Annotated[tuple[Dim, ...], Field(min_length=1)] = 128
    """k; less where a domain has fewer users or items than that. A list is a grid: see :meth:`dims`."""
    confidence: float = Field(default=10.0, gt=1.0)
    """c of an item the user has; an item the user has not counts 1."""
    regularisation: float = Field(default=0.05, gt=0.0)
    iterations: int = Field(default=10, ge=1)
    refit: bool = False
    """Once all is chosen, fit the target's base model and the closed-form models again, on validation users too."""

    positive_threshold: float | tuple[float, float] | None = None
    """The lowest rating that is a like; of source and target, where the domains rate differently. Lower ones are
    neither learnt from nor counted when lists are judged, and their items count as seen. None: every rating is."""

    def likes(self) -> tuple[float, float] | None:
        """``positive_threshold`` of source and target."""
        least = self.positive_threshold
        return (least, least) if isinstance(least, float) else least

    def dims(self) -> tuple[int, ...]:
        """The values of k to choose from on the validation users; of equals, the first."""
        return self.dim if isinstance(self.dim, tuple) else (self.dim,)
