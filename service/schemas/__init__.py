"""Request and response bodies. Unknown fields are refused and numbers must be numbers: a typo never passes silently."""

from __future__ import annotations

from service.schemas.embeddings import MAX_EMBEDDINGS, Embedding, EmbeddingsAnswer, EmbeddingsRequest
from service.schemas.operations import (
    ActivateRequest,
    DataSummary,
    FileSummary,
    Health,
    LoadRequest,
    ModelsAnswer,
    ModelSummary,
    Readiness,
    Refusal,
    ShadowShare,
    TrafficSplit,
)
from service.schemas.people import MAX_EVENTS, ErasureReceipt, EventsAnswer, EventsRequest, RatingEvent, RejectedEvent
from service.schemas.recommendations import (
    MAX_LISTED,
    MAX_LISTED_IN_ADDRESS,
    BatchError,
    BatchLine,
    BatchUser,
    Item,
    PopularAnswer,
    Rating,
    RecommendationAnswer,
    RecommendationParameters,
    RecommendationRequest,
)

__all__ = [
    "ActivateRequest",
    "BatchError",
    "BatchLine",
    "BatchUser",
    "DataSummary",
    "Embedding",
    "EmbeddingsAnswer",
    "EmbeddingsRequest",
    "ErasureReceipt",
    "EventsAnswer",
    "EventsRequest",
    "FileSummary",
    "Health",
    "Item",
    "LoadRequest",
    "MAX_EMBEDDINGS",
    "MAX_EVENTS",
    "MAX_LISTED",
    "MAX_LISTED_IN_ADDRESS",
    "ModelSummary",
    "ModelsAnswer",
    "PopularAnswer",
    "Rating",
    "RatingEvent",
    "Readiness",
    "RecommendationAnswer",
    "RecommendationParameters",
    "RecommendationRequest",
    "Refusal",
    "RejectedEvent",
    "ShadowShare",
    "TrafficSplit",
]
