"""A typed client of the service: ``Client``, and ``AsyncClient`` with the same methods.

    with Client("http://127.0.0.1:8000", api_key=KEY) as client:
        print(client.recommend("ann", k=20).items)

Answers are frozen models; what the service refuses is raised as :class:`ServiceError` with its problem document.
"""

from __future__ import annotations

from importlib.util import find_spec

from diffcdr.errors import MissingExtraError

if find_spec("httpx2") is None:
    raise MissingExtraError("diffcdr.client", extra="client")

from diffcdr.client.answers import (
    BatchLine,
    Embeddings,
    ErasureReceipt,
    EventsResult,
    Explanation,
    Item,
    ItemList,
    LineError,
    RecommendationList,
    RejectedEvent,
    SourceShare,
)
from diffcdr.client.async_client import AsyncClient
from diffcdr.client.calls import Event, User
from diffcdr.client.client import Client
from diffcdr.client.errors import ClientError, Problem, ServiceError, Unreachable
from diffcdr.client.experiment_answers import (
    ArmComparison,
    Experiment,
    ExperimentArm,
    ExperimentsResult,
    RateShare,
    SampleRatioCheck,
)
from diffcdr.client.items import ItemChange, ItemsChanged, KnownItem, UploadedList, UploadedLists
from diffcdr.client.model_answers import (
    ModelsResult,
    ModelSummary,
    PairedDifference,
    Readiness,
    ShadowShare,
    TrafficSplit,
)
from diffcdr.client.retries import Retries

__all__ = [
    "ArmComparison",
    "Experiment",
    "ExperimentArm",
    "ExperimentsResult",
    "RateShare",
    "SampleRatioCheck",
    "AsyncClient",
    "BatchLine",
    "Client",
    "ClientError",
    "Embeddings",
    "ErasureReceipt",
    "Event",
    "EventsResult",
    "Explanation",
    "Item",
    "ItemChange",
    "ItemList",
    "ItemsChanged",
    "KnownItem",
    "LineError",
    "ModelSummary",
    "PairedDifference",
    "ModelsResult",
    "Problem",
    "Readiness",
    "RecommendationList",
    "RejectedEvent",
    "Retries",
    "ServiceError",
    "ShadowShare",
    "SourceShare",
    "TrafficSplit",
    "Unreachable",
    "UploadedList",
    "UploadedLists",
    "User",
]
