"""Results made up for tests."""

from __future__ import annotations

from typing import Any

from training.experiment.plan import Scenario
from training.experiment.results import CellResult


def result(
    model: str,
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    scenario: Scenario = "cold",
    rmse: float | None = 1.0,
    ndcg: float = 0.5,
    **others: Any,
) -> CellResult:
    """A cell with the figures given; all rating errors are ``rmse``, all ranking figures ``ndcg``."""
    figures: dict[str, Any] = {
        "mae": rmse,
        "rmse": rmse,
        "mae_clipped": rmse,
        "rmse_clipped": rmse,
        "ndcg": ndcg,
        "hr": ndcg,
        "recall": ndcg,
        "train_rate": 1000.0,
        "transfer_rate": 5000.0,
        "seconds": 1.5,
        "users": 10,
        "ratings": 40,
        "best_epoch": 2,
        "epochs": ({"rmse": 1.2}, {"rmse": 1.1}),
        "versions": {"numpy": "2"},
    }
    return CellResult(
        model=model,
        preset="reference",
        test_fraction=test_fraction,
        seed=seed,
        scenario=scenario,
        **(figures | others),
    )
