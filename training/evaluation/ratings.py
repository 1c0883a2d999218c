"""Rating prediction: MAE and RMSE, raw and clipped to the rating range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffcdr.errors import InputError

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class RatingMetrics:
    """Errors in units of the rating scale, pooled over ratings (a heavy user weighs more), as the paper's Table 2.

    ``*_clipped``: after each prediction is moved to the nearest end of the rating range where it lies outside.
    """

    mae: float
    rmse: float
    mae_clipped: float
    rmse_clipped: float


def rating_metrics(predicted: FloatArray, actual: FloatArray, *, rating_range: tuple[float, float]) -> RatingMetrics:
    """Errors of ``predicted`` [R] against ``actual`` [R]; sums in float64.

    Raises:
        InputError: there are no ratings, or a prediction is not finite (the model diverged).
    """
    if not len(actual):
        raise InputError("there are no held-out ratings to measure; hold out more users with --test-fraction")
    if not np.isfinite(predicted).all():
        raise InputError("the model predicts ratings that are not finite: its training diverged; lower its lr")
    wanted = actual.astype(np.float64)
    raw = predicted.astype(np.float64) - wanted
    clipped = np.clip(predicted.astype(np.float64), *rating_range) - wanted
    return RatingMetrics(
        mae=_mean_absolute(raw),
        rmse=_root_mean_square(raw),
        mae_clipped=_mean_absolute(clipped),
        rmse_clipped=_root_mean_square(clipped),
    )


def _mean_absolute(errors: npt.NDArray[np.float64]) -> float:
    return float(np.abs(errors).mean())


def _root_mean_square(errors: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(errors).mean()))
