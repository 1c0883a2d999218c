"""Bodies about the service: its models and its health."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.bundles.registry import State
from service.schemas.base import Body, Id


class FileSummary(Body):
    """One rating file: rows read, rows kept, and rows that cleaning left out or merged, by reason."""

    name: str
    rows_read: int
    rows_kept: int
    left_out: dict[str, int]


class DataSummary(Body):
    """What a bundle was trained on. ``split``: overlap users in `train`, `validation` and `test`; ``cut``: the last
    moment of training, if the data were split by time."""

    source: FileSummary
    target: FileSummary
    split: dict[str, int]
    test_fraction: float
    seed: int
    cut: str | None = None


class Likes(Body):
    """The lowest ratings that count as likes; lower ones say only that the item was seen."""

    source: float
    target: float


class NeighboursSummary(Body):
    """The sparse term of a bundle's scores: what neighbours of a user's source items say about target items."""

    entries: Annotated[int, Field(description="Pairs of a source item and a target item.")]
    ratings: Annotated[int, Field(description="Source ratings that the bundle holds, to sum over.")]
    bytes: Annotated[int, Field(description="Size of the tables, which are mapped into memory.")]


class PairedDifference(Body):
    """The published model's metric minus another model's, averaged over the users that both were measured on."""

    metric: str
    difference: float
    standard_error: Annotated[float | None, Field(description="null for a single user.")]


class ModelSummary(Body):
    """A loaded bundle, with its metrics and those of the baselines on the same held-out users."""

    id: str
    name: Annotated[str, Field(description="The directory that the bundle was loaded from.")]
    state: Annotated[
        State, Field(description="`stable` is the active model: it answers users that no split routes elsewhere.")
    ]
    model: str
    preset: str
    device: Annotated[str, Field(description="Where transfers run now: cpu or cuda:N.")]
    provider: Annotated[str, Field(description="What computes them.")]
    provider_version: str
    search_device: Annotated[str, Field(description="Where items are searched, for batches large enough for it.")]
    created_at: datetime
    loaded_at: datetime
    counts: dict[str, int]
    metrics: Annotated[
        dict[str, dict[str, dict[str, float]]], Field(description="metrics[scope][model][metric] of the manifest.")
    ]
    standard_errors: Annotated[
        dict[str, dict[str, dict[str, float]]],
        Field(
            description="Standard errors of `metrics`, by the same keys, where there are any; empty in older bundles."
        ),
    ]
    paired: Annotated[
        dict[str, dict[str, PairedDifference]],
        Field(
            description="paired[scope][model]: `model` minus each other model, user by user; empty in older bundles."
        ),
    ]
    objective: Annotated[Literal["rating", "ranking"], Field(description="Whether scores are predicted ratings.")]
    transfer: Literal["affine", "onnx"]
    search: Annotated[
        Literal["exact", "approximate"],
        Field(description="How items are searched; `Server-Timing` names the search of an answer."),
    ]
    recall: Annotated[
        float | None, Field(description="Share of the exact best 20 that the approximate search found at export.")
    ]
    neighbours: Annotated[
        NeighboursSummary | None, Field(description="null where scores are of vectors and biases alone.")
    ]
    fold_in: Annotated[bool, Field(description="Whether new users get personal lists from ratings in the request.")]
    likes: Annotated[
        Likes | None, Field(description="Which ratings are likes; null where all are, or where their value counts.")
    ] = None
    data: DataSummary
    shortfalls: Annotated[list[str], Field(description="Metrics in which the model is worse than a plain baseline.")]
    histories: Annotated[bool, Field(description="Whether the bundle has the users' source ratings.")]
    map: Annotated[bool, Field(description="Whether the bundle holds a map of users and items.")]


class Refusal(Body):
    """A refused bundle; nothing changed."""

    path: str
    reason: str
    at: datetime


class ShadowShare(Body):
    """Shadow traffic: a model that also gets requests of the active one; /metrics shows how far they agree."""

    model: Annotated[Id, Field(description="A loaded model.")]
    percent: Annotated[float, Field(ge=0, le=100, description="Percentage of the active model's requests.")]


class TrafficSplit(Body):
    """The traffic split: the canary answers `percent` of user ids, by a salted hash of the id, the same on every
    replica.
    """

    canary: Annotated[Id | None, Field(description="A loaded model; null ends the split.")] = None
    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    salt: Annotated[str, Field(max_length=64, description="Another salt selects other users.")] = ""
    shadow: Annotated[
        ShadowShare | None, Field(description="null ends it. Shadow requests wait until the engine is idle.")
    ] = None


class ModelsAnswer(Body):
    """Every loaded bundle, the active one first."""

    models: list[ModelSummary]
    traffic: TrafficSplit
    refused: Annotated[list[Refusal], Field(description="The last refused bundles, newest first.")]


class LoadRequest(Body):
    """Another bundle to load."""

    path: Annotated[str, Field(min_length=1, max_length=4096, description="Directory below the bundle root.")]
    activate: Annotated[bool, Field(description="Activate it as soon as it is ready.")] = False


class ActivateRequest(Body):
    """Which loaded model to activate."""

    model: Id


class Health(Body):
    """Whether the service is up."""

    status: Literal["ok", "draining", "stalled", "behind"]


class Readiness(Health):
    """Whether the service wants traffic, and the state of each part."""

    components: Annotated[
        dict[str, Literal["ok", "draining", "stalled", "behind", "degraded"]],
        Field(
            description="`degraded` state: opt-outs are known from a copy, and none can be stored. "
            "`behind` bundle: the other workers serve one that cannot be loaded here. "
            "`degraded` device: the GPU was lost, and the CPU computes until a restart."
        ),
    ]
    bundle: str
    device: Annotated[str, Field(description="Where transfers run now: cpu or cuda:N.")]
    provider: Annotated[str, Field(description="What computes them.")]
    provider_version: str
    search_device: Annotated[str, Field(description="Where items are searched, for batches large enough for it.")]
