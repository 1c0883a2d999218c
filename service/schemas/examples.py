"""An example of every body in the OpenAPI document.

They stand apart from the schemas, which are read more often, and share their parts. A test holds each to its schema,
and sends those of requests to a service. The console puts users and items that there are in the place of ids like
u00042 (a user), s00003 (an item of the source) and t00007 (one of the target).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Example = Mapping[str, Any]

USER, OTHER_USER, NEWCOMER = "u00042", "u00043", "newcomer"
FILMS = ("s00003", "s00019")
BOOK = "t00007"
LIST = "summer-2026"
MODEL_ID = "6aa59623ceb8a15c5d878804738bd7e8b3efcb1ba858b572ceb28b3c046da806"
REQUEST_ID = "266dc7a8425574dd26f352b54f1eee6c"
RECOMMENDATION_ID = "ETVjOolva0EgAACrq6urq6urqwGiIV9yetaVD1Hgg-U29sqFh752203Cf6Tz"
IDEMPOTENCY_KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"

_RATED = {"item_id": FILMS[0], "rating": 5.0}
_FILM = {"item_id": FILMS[0], "title": "The Awkward Plumber (comedy)"}
_BOOK = {"item_id": BOOK, "title": "The Lawless Trail 2 (frontier tale)"}
_ITEM = {**_BOOK, "score": 0.8054507374763489, "rank": 1}
_WHY: Example = {
    "sources": [{**_FILM, "rating": 5.0, "share": 0.3125}],
    "other_sources": 0.25,
    "target_ratings": 0.0,
    "base": 0.24295073747634888,
    "rest": 0.0,
}
_ALIKE = {"item_id": "t00012", "title": "Saddle and Ash (frontier tale)", "similarity": 0.9713, "rank": 1}
_POPULAR = {**_BOOK, "score": 951.0, "rank": 1}
_LIST = {
    "items": [_ITEM],
    "strategy": "transfer",
    "fallback_reason": None,
    "bundle": MODEL_ID,
    "recommendation_id": RECOMMENDATION_ID,
}
_EVENTS: Sequence[Example] = [
    {"event_id": "9f1c", "user_id": NEWCOMER, "item_id": FILMS[0], "rating": 5},
    {"event_id": "9f1d", "user_id": NEWCOMER, "item_id": FILMS[1], "rating": 2},
    {"event_id": "9f1e", "user_id": NEWCOMER, "item_id": BOOK, "rating": 4, "domain": "target"},
    {"event_id": "9f1f", "user_id": NEWCOMER, "item_id": BOOK, "type": "purchase", "domain": "target"},
]
_REJECTED = {"index": 2, "event_id": "9f1e", "code": "opted_out"}
_CHANGED: Example = {"item_id": BOOK, "available": True, "tags": ["sale", "gift"]}
_FILTER: Example = {"where": {"tags": {"none": ["sale"]}}}
_USERS: Sequence[Example] = [
    {"user_id": USER, "k": 20},
    {"user_id": USER, "k": 5, "exclude_items": [BOOK], "fallback": "deny"},
    {"user_id": USER, "diversity": 0.2},
    {"user_id": USER, "k": 10, "offset": 10},
    {"user_id": USER, "explain": True},
    {"user_id": USER, "filter": _FILTER},
    {"user_id": USER, "caps": {"tags": 3}},
    {"history": [{"item_id": FILMS[0], "rating": 5}, {"item_id": FILMS[1], "rating": 2}]},
    {"user_id": USER, "target_history": [{"item_id": BOOK, "rating": 4}]},
]
_FIELD_ERROR = {"pointer": "/k", "detail": "Input should be less than or equal to 500"}
_FAULT: Example = {
    "code": "invalid_request",
    "status": 422,
    "detail": "/k: Input should be less than or equal to 500",
    "errors": [_FIELD_ERROR],
}
_RATE = {"share": 0.0739, "low": 0.0648, "high": 0.0839}
_SAMPLE_RATIO = {"expected_percent": 5.0, "found_percent": 5.11, "p_value": 1.0, "mismatch": False}
_COMPARED = {"metric": "clicks", "ratio": 1.11, "low": 0.62, "high": 1.78, "p_value": 1.0, "verdict": "undecided"}
_ARM: Example = {
    "arm": "stable",
    "bundle": MODEL_ID,
    "users": 9_500,
    "impressions": 61_200,
    "clicks": 1_310,
    "conversions": 96,
    "clickers": 702,
    "converters": 88,
    "click_rate": _RATE,
    "conversion_rate": {"share": 0.0093, "low": 0.0061, "high": 0.0136},
}
_EXPERIMENT: Example = {
    "id": "35633a896f6b",
    "running": True,
    "percent": 5.0,
    "arms": [_ARM, {**_ARM, "arm": "canary", "users": 512, "clickers": 41}],
    "sample_ratio": _SAMPLE_RATIO,
    "comparisons": [_COMPARED],
}
_EMBEDDING = {"index": 0, "user_id": USER, "found": True, "vector": [0.2523946, 1.1753496, 0.5885836]}
_FILE = {"name": "films.parquet", "rows_read": 163_507, "rows_kept": 163_507, "left_out": {"few_ratings": 0}}
_DATA: Example = {
    "source": _FILE,
    "target": {**_FILE, "name": "books.parquet", "rows_read": 163_607, "rows_kept": 163_607},
    "split": {"train": 2160, "validation": 240, "test": 600},
    "test_fraction": 0.2,
    "seed": 0,
    "cut": None,
}
_NEIGHBOURS = {"entries": 385_000, "ratings": 61_200, "bytes": 3_411_000}
_PAIRED: Example = {"metric": "ndcg@20", "difference": 0.085, "standard_error": 0.004}
_SUMMARY: Example = {
    "id": MODEL_ID,
    "state": "stable",
    "model": "diffcdr",
    "name": "books",
    "preset": "ranking",
    "device": "cpu",
    "provider": "NumPy",
    "provider_version": "2.4.6",
    "search_device": "cpu",
    "created_at": "2026-01-09T10:15:00Z",
    "loaded_at": "2026-01-09T10:20:00Z",
    "counts": {"source_users": 4000, "source_items": 2000, "target_users": 3160, "target_items": 2000},
    "metrics": {"test": {"diffcdr": {"ndcg@20": 0.324}, "popular": {"ndcg@20": 0.239}}},
    "standard_errors": {"test": {"diffcdr": {"ndcg@20": 0.006}, "popular": {"ndcg@20": 0.005}}},
    "paired": {"test": {"popular": _PAIRED}},
    "objective": "ranking",
    "transfer": "affine",
    "search": "exact",
    "recall": None,
    "neighbours": _NEIGHBOURS,
    "fold_in": True,
    "likes": None,
    "data": _DATA,
    "shortfalls": [],
    "histories": True,
    "map": True,
}
_SHADOW = {"model": MODEL_ID, "percent": 10.0}
_SPLIT = {"canary": MODEL_ID, "percent": 5.0, "salt": "spring", "shadow": _SHADOW}
_REFUSAL = {
    "path": "candidate",
    "reason": "bundles/candidate is no bundle: it has no manifest.json; publish it again",
    "at": "2026-01-09T10:25:00Z",
}
_PLACE = {"source": [0.12, -0.4], "transferred": [0.31, 0.08], "target": [0.27, 0.11]}
_SAMPLE: Example = {
    "at": 1_767_953_700.0,
    "requests": 3,
    "statuses": {"2xx": 3},
    "latency": [0, 1, 3],
    "batches": 2,
    "batch_rows": 3,
    "queue_rows": 0,
    "shed_rows": 0,
    "dropped_rows": 0,
    "strategies": {"transfer": 2, "popular": 1},
    "fallback_reasons": {"unknown_user": 1},
    "state_up": True,
    "workers": 1,
}

EXAMPLES: Mapping[str, Sequence[Example]] = {
    "ActivateRequest": [{"model": MODEL_ID}],
    "ActivityAnswer": [{"interval_seconds": 5.0, "latency_bounds": [0.001, 0.005], "samples": [_SAMPLE]}],
    "BatchError": [_FAULT],
    "BatchLine": [{"index": 0, "user_id": USER, **_LIST}, {"index": 1, "user_id": None, "error": _FAULT}],
    "BatchUser": _USERS,
    "Condition": [{"any": ["crime", "drama"], "none": ["poetry"]}, {"gte": 5, "lt": 20}],
    "DataSummary": [_DATA],
    "Embedding": [_EMBEDDING],
    "EmbeddingsAnswer": [
        {"embeddings": [_EMBEDDING], "dim": 3, "encoding": "float", "bundle": MODEL_ID, "request_id": REQUEST_ID}
    ],
    "EmbeddingsRequest": [{"user_ids": [USER, OTHER_USER]}, {"user_ids": [USER], "encoding": "base64"}],
    "ErasureReceipt": [{"receipt": "bfab4c81baaa4ffebd6bbfd99f4cb75b", "erased_at": "2026-01-09T10:30:00+00:00"}],
    "EventsAnswer": [{"accepted": 2, "duplicates": 0, "rejected": [_REJECTED], "request_id": REQUEST_ID}],
    "EventsRequest": [{"events": _EVENTS}],
    "ArmComparison": [_COMPARED],
    "ExperimentArm": [_ARM],
    "ExperimentReport": [_EXPERIMENT],
    "ExperimentsAnswer": [{"experiments": [_EXPERIMENT], "attribution_hours": 168.0}],
    "Explanation": [_WHY],
    "RateShare": [_RATE],
    "SampleRatioCheck": [_SAMPLE_RATIO],
    "FieldError": [_FIELD_ERROR],
    "FileSummary": [_FILE],
    "FoundItem": [_BOOK],
    "Health": [{"status": "ok"}],
    "HistoryAnswer": [
        {"user_id": USER, "items": [{**_FILM, "rating": 5.0}], "total": 38, "origin": "training", "bundle": MODEL_ID}
    ],
    "Item": [_ITEM, {**_ITEM, "explanation": _WHY}],
    "ItemAnswer": [
        {**_BOOK, "attributes": {"price": 12.5, "genre": ["crime"]}, "available": True, "bundle": MODEL_ID},
    ],
    "ItemChangeRequest": [{"available": False}, {"tags": ["sale"]}, {"available": None, "tags": None}],
    "ItemChangesAnswer": [{"changed": 2, "unknown": [], "request_id": REQUEST_ID}],
    "ItemChangesRequest": [{"items": [_CHANGED, {"item_id": "t00012", "available": None}]}],
    "ItemFilter": [_FILTER, {"items": [BOOK], "available": False}],
    "ItemListAnswer": [{"name": LIST, "count": 2, "items": [BOOK, "t00012"]}],
    "ItemListRequest": [{"items": [BOOK, "t00012"]}],
    "ItemListsAnswer": [{"lists": [LIST]}],
    "ItemsAnswer": [{"items": [_BOOK], "bundle": MODEL_ID}],
    "Likes": [{"source": 4.0, "target": 4.0}],
    "LoadRequest": [{"path": "candidate"}, {"path": "candidate", "activate": True}],
    "MapAnswer": [
        {
            "users": [{"user_id": OTHER_USER, **_PLACE, "others": {"als": [0.3, 0.1]}}],
            "items": [{**_BOOK, "point": [0.3, 0.2]}],
            "bundle": MODEL_ID,
        }
    ],
    "MapItem": [{**_BOOK, "point": [0.3, 0.2]}],
    "MapUser": [{"user_id": OTHER_USER, **_PLACE, "others": {"als": [0.3, 0.1]}}],
    "ModelSummary": [_SUMMARY],
    "NeighboursSummary": [_NEIGHBOURS],
    "PairedDifference": [_PAIRED],
    "NamedItemChange": [_CHANGED],
    "ModelsAnswer": [{"models": [_SUMMARY], "traffic": _SPLIT, "refused": [_REFUSAL]}],
    "PlaceAnswer": [
        {"user_id": USER, "on_map": False, **_PLACE, "target": None, "near": [_BOOK], "bundle": MODEL_ID},
    ],
    "PopularAnswer": [{"items": [_POPULAR], "bundle": MODEL_ID, "recommendation_id": RECOMMENDATION_ID}],
    "ProblemBody": [
        {
            "type": "urn:diffcdr:problem:invalid_request",
            "title": "The request does not follow the schema",
            "instance": "/v1/recommendations",
            "request_id": REQUEST_ID,
            **_FAULT,
        }
    ],
    "RatedItem": [{**_FILM, "rating": 5.0}],
    "Rating": [_RATED],
    "RatingEvent": _EVENTS,
    "Readiness": [
        {
            "status": "ok",
            "components": {"bundle": "ok", "engine": "ok", "lifecycle": "ok", "state": "ok", "device": "ok"},
            "bundle": MODEL_ID,
            "device": "cuda:0",
            "provider": "CUDAExecutionProvider",
            "provider_version": "1.31.1",
            "search_device": "cuda:0",
        }
    ],
    "RecommendationAnswer": [
        {**_LIST, "request_id": REQUEST_ID},
        {
            **_LIST,
            "items": [{**_ITEM, "explanation": _WHY}],
            "unexplained_reason": None,
            "request_id": REQUEST_ID,
        },
    ],
    "RecommendationRequest": [*_USERS, {"user_id": USER, "timeout_ms": 500}],
    "Refusal": [_REFUSAL],
    "RejectedEvent": [_REJECTED],
    "Sample": [_SAMPLE],
    "ShadowShare": [_SHADOW],
    "SimilarAnswer": [{"item": _BOOK, "items": [_ALIKE], "domain": "target", "to": "target", "bundle": MODEL_ID}],
    "SimilarItem": [_ALIKE],
    "SourceShare": list(_WHY["sources"]),
    "TrafficSplit": [_SPLIT, {"canary": None}],
    "UsersAnswer": [{"users": [USER], "bundle": MODEL_ID}],
}
"""Component of the document -> what such bodies look like."""
