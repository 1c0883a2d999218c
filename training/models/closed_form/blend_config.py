"""Settings of DiffCDR in closed form on target rows, section ``[diffcdr]`` with ``form = "blend"``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from training.setting_types import Dim, ScheduleName, Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class BlendDiffCDRConfig(Settings):
    """DiffCDR with DIM and ALM in closed form, in a space of target rows, section ``[diffcdr]``, ``form = "blend"``.

    Lists are grids to choose from by cross-validation over training and validation users; a list of one fixes the
    setting. It needs base models of interactions (``base.kind = "als"``).
    """

    form: Literal["blend"] = "blend"

    # Condition
    history_dim: int = Field(default=512, ge=1, le=4096)
    """Dimensions of the tf-idf history features; less where the source has fewer users or items than that."""
    idf_power: float = Field(default=1.5, ge=0.0)
    """Exponent of the idf in the history features."""
    vector_weight: float = Field(default=0.7, gt=0.0)
    """Length of the base vector in the condition; that of the history is at most 1."""

    # Target space
    raw_shares: tuple[Share, ...] = Field(default=(0.5, 0.0), min_length=1)
    """Share of the users' own target rows in what is predicted; the rest is the mean of ALS reconstructions."""
    als_dims: tuple[Dim, ...] = Field(default=(32, 64, 128), min_length=1)
    """k of each ALS reconstruction; its confidence and regularisation are those of the target's base model."""
    als_iterations: int = Field(default=10, ge=1)
    target_dims: tuple[Dim, ...] = Field(default=(128, 64, 256), min_length=1)
    """Principal directions of the predicted rows that are kept. The first is what guidance is tried with first."""

    # DIM
    ridge_strengths: tuple[Positive, ...] = Field(default=(0.3, 1.0, 3.0, 10.0, 30.0, 100.0), min_length=1)
    """Regularisation of the conditional mean, in mean eigenvalues of the condition's scatter matrix."""
    guidance_scales: tuple[float, ...] = Field(default=(1.0, 1.5, 2.0, 3.0), min_length=1)
    """s of Eq. 3. 1 is the conditional mean; above 1, away from the average user by what the condition tells."""

    # Diffusion
    schedule: ScheduleName = "continuous"
    end_time: float = Field(default=1e-4, gt=0.0, lt=1.0)
    nfe: int = Field(default=30, ge=1, le=1000)
    solver_order: Literal[1, 2, 3] = 3
    skip: Literal["logsnr", "time"] = "logsnr"

    # ALM
    identity_priors: tuple[Positive, ...] = (30.0,)
    """Pull of the ALM towards the identity, in mean eigenvalues of the solved vectors' scatter matrix. The ALM may also
    be left out; an empty list leaves it out always."""

    # Neighbours
    neighbour_tables: tuple[tuple[float, float, int], ...] = (
        (0.5, 0.0, 25),
        (0.5, 0.0, 100),
        (0.5, 0.25, 25),
        (0.5, 0.25, 100),
        (0.75, 0.0, 25),
        (0.75, 0.0, 100),
    )
    """Exponents of source and target items' lengths in the table of co-occurrences, and how many source items are kept
    of each target item."""
    regression_tables: tuple[tuple[NonNegativeFloat, PositiveFloat, PositiveInt], ...] = ()
    """Tables of SLIM's coefficients to choose from too: l1, l2 and the source items that each target item is regressed
    on."""
    neighbour_shares: tuple[Annotated[float, Field(ge=0.0)], ...] = Field(
        default=(0.0, 0.1, 0.25, 0.5, 1.0, 2.0), min_length=1
    )
    """Spread of the neighbours' scores, in spreads of the transferred ones; 0 leaves them out."""

    # Blend
    popularity_shares: tuple[Share, ...] = Field(default=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Weight of the popular list in the blend; 1 is the popular list alone."""
    caution: float = Field(default=2.0, ge=0.0)
    """Standard errors of the gain over the popular list that are taken off before shares are compared."""

    # Cross-validation
    folds: int = Field(default=5, ge=2, le=20)
    judged_users: int = Field(default=2000, ge=1)
    """At most so many users are judged, evenly from all folds."""
