"""The client offers what the service does: every operation, every wish, every part of an answer that it reads."""

from __future__ import annotations

import inspect
import re
from typing import Any

import httpx2 as httpx

from diffcdr.client import AsyncClient, Client, batches, questions, results, results_lookup
from diffcdr.client.questions import Call
from service import schemas
from service.schemas import console


def test_the_service_s_answers_have_what_the_client_reads() -> None:
    pairs = {
        results.RecommendationList: schemas.RecommendationAnswer,
        results.Item: schemas.Item,
        results.BatchLine: schemas.BatchLine,
        results.LineError: schemas.BatchError,
        results.ItemList: schemas.PopularAnswer,
        results.EventsResult: schemas.EventsAnswer,
        results.RejectedEvent: schemas.RejectedEvent,
        results.ErasureReceipt: schemas.ErasureReceipt,
        results.ModelSummary: schemas.ModelSummary,
        results.ModelsResult: schemas.ModelsAnswer,
        results.Readiness: schemas.Readiness,
        results.TrafficSplit: schemas.TrafficSplit,
        results.ShadowShare: schemas.ShadowShare,
        results_lookup.UserList: console.UsersAnswer,
        results_lookup.FoundItem: console.FoundItem,
        results_lookup.FoundItems: console.ItemsAnswer,
        results_lookup.RatedItem: console.RatedItem,
        results_lookup.History: console.HistoryAnswer,
        results_lookup.MapUser: console.MapUser,
        results_lookup.MapItem: console.MapItem,
        results_lookup.UserMap: console.MapAnswer,
        results_lookup.Place: console.PlaceAnswer,
        results_lookup.Sample: console.Sample,
        results_lookup.Activity: console.ActivityAnswer,
    }
    for read, sent in pairs.items():
        assert read.model_fields.keys() <= sent.model_fields.keys(), read


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = {name: value for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
        return {name: [*inspect.signature(value).parameters] for name, value in found.items()}

    ours, theirs = methods(Client), methods(AsyncClient)
    assert ours == theirs
    assert ours["recommend"] == ["user_id", "timeout_ms", "wishes"]


def test_every_operation_of_v1_has_a_method(address: str) -> None:
    calls: list[Call[Any]] = [
        questions.recommend("ID"),
        questions.recommend_user("ID"),
        questions.embed_users(["ID"]),
        questions.add_events([]),
        questions.popular(),
        questions.opt_out("ID"),
        questions.opt_in("ID"),
        questions.erase("ID"),
        questions.models(),
        questions.model("ID"),
        questions.load_model("ID"),
        questions.activate_model("ID"),
        questions.roll_back(),
        questions.set_traffic(),
        questions.find_users(),
        questions.find_items(),
        questions.history("ID"),
        questions.user_map(),
        questions.place("ID"),
        questions.activity(),
    ]
    ours = {(call.method, call.path) for call in calls} | {("POST", batches.PATH)}
    document = httpx.get(f"{address}/openapi.json").json()["paths"]
    offered = {
        (method.upper(), re.sub(r"\{\w+\}", "ID", path))
        for path, operations in document.items()
        for method in operations
        if path.startswith("/v1/")
    }
    assert ours == offered


def test_what_may_be_wished_is_what_the_service_takes() -> None:
    taken = schemas.RecommendationRequest.model_fields.keys()
    assert questions.Wishes.__annotations__.keys() <= taken
    assert questions.Options.__annotations__.keys() <= schemas.RecommendationParameters.model_fields.keys()
