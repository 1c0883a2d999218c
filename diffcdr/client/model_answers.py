"""Answers about the service: loaded models, the traffic split, readiness."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from diffcdr.client.answers import Answer


class PairedDifference(Answer):
    """The published model's ``metric`` minus another's, averaged over the users that both were measured on."""

    metric: str
    difference: float
    standard_error: float | None = None


class ModelSummary(Answer):
    """A loaded bundle. ``metrics[scope][model][metric]``, against the baselines on the same held-out users.

    ``standard_errors``: of those that have one, by the same keys; empty in older bundles.
    ``paired[scope][model]``: ``model`` minus each other model, user by user; empty in older bundles.
    """

    id: str
    name: str = ""
    state: str
    model: str
    preset: str
    device: str
    created_at: datetime
    loaded_at: datetime
    counts: dict[str, int]
    metrics: dict[str, dict[str, dict[str, float]]]
    provider: str = ""
    provider_version: str = ""
    search_device: str = ""
    standard_errors: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    paired: dict[str, dict[str, PairedDifference]] = Field(default_factory=dict)


class ShadowShare(Answer):
    """Shadow traffic: ``model`` also gets ``percent`` of the active model's requests."""

    model: str
    percent: float


class TrafficSplit(Answer):
    """``percent`` of users, by a hash of their id with ``salt``, are answered by the model ``canary``."""

    canary: str | None = None
    percent: float = 0.0
    salt: str = ""
    shadow: ShadowShare | None = None


class ModelsResult(Answer):
    """Every loaded bundle, the active one first."""

    models: tuple[ModelSummary, ...]
    traffic: TrafficSplit


class Readiness(Answer):
    """That the service wants traffic, the state of each part, and the stable bundle of the worker that answered."""

    status: str
    components: dict[str, str]
    bundle: str
    device: str
    provider: str = ""
    provider_version: str = ""
    search_device: str = ""
