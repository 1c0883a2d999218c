"""Lineups without bundles: of models there are only the ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from service.bundles.registry import Lineup, Model
from service.bundles.traffic_split import Traffic

STABLE, CANARY = "5" * 64, "c" * 64


def model(model_id: str) -> Model:
    return cast(Model, SimpleNamespace(id=model_id))


def lineup(*, percent: float = 25.0, salt: str = "", canary: str | None = CANARY) -> Lineup:
    models = {model_id: model(model_id) for model_id in (STABLE, CANARY)}
    return Lineup(models[STABLE], models=models, traffic=Traffic(canary, percent if canary else 0.0, salt))
