"""The client offers what the service does: every operation, every wish, every part of an answer that it reads."""

from __future__ import annotations

import inspect
import re
from typing import Any

from diffcdr.client import (
    AsyncClient,
    Client,
    answers,
    batches,
    calls,
    experiment_answers,
    lookup_answers,
    model_answers,
)
from diffcdr.client import items as client_items
from diffcdr.client.calls import Call
from service import schemas
from service.schemas import console, experiments, items, similar
from tests import web


def test_the_service_s_answers_have_what_the_client_reads() -> None:
    pairs = {
        answers.RecommendationList: schemas.RecommendationAnswer,
        answers.Item: schemas.Item,
        answers.Explanation: schemas.Explanation,
        answers.SourceShare: schemas.SourceShare,
        answers.BatchLine: schemas.BatchLine,
        answers.LineError: schemas.BatchError,
        answers.ItemList: schemas.PopularAnswer,
        client_items.KnownItem: items.ItemAnswer,
        client_items.ItemsChanged: items.ItemChangesAnswer,
        answers.EventsResult: schemas.EventsAnswer,
        answers.RejectedEvent: schemas.RejectedEvent,
        answers.ErasureReceipt: schemas.ErasureReceipt,
        model_answers.ModelSummary: schemas.ModelSummary,
        model_answers.ModelsResult: schemas.ModelsAnswer,
        model_answers.Readiness: schemas.Readiness,
        model_answers.TrafficSplit: schemas.TrafficSplit,
        model_answers.ShadowShare: schemas.ShadowShare,
        lookup_answers.UserList: console.UsersAnswer,
        lookup_answers.FoundItem: console.FoundItem,
        lookup_answers.FoundItems: console.ItemsAnswer,
        lookup_answers.SimilarItem: similar.SimilarItem,
        lookup_answers.SimilarItems: similar.SimilarAnswer,
        lookup_answers.RatedItem: console.RatedItem,
        lookup_answers.History: console.HistoryAnswer,
        lookup_answers.MapUser: console.MapUser,
        lookup_answers.MapItem: console.MapItem,
        lookup_answers.UserMap: console.MapAnswer,
        lookup_answers.Place: console.PlaceAnswer,
        lookup_answers.Sample: console.Sample,
        lookup_answers.Activity: console.ActivityAnswer,
        experiment_answers.RateShare: experiments.RateShare,
        experiment_answers.ExperimentArm: experiments.ExperimentArm,
        experiment_answers.SampleRatioCheck: experiments.SampleRatioCheck,
        experiment_answers.ArmComparison: experiments.ArmComparison,
        experiment_answers.Experiment: experiments.ExperimentReport,
        experiment_answers.ExperimentsResult: experiments.ExperimentsAnswer,
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
    made: list[Call[Any]] = [
        calls.recommend("ID"),
        calls.recommend_user("ID"),
        calls.embed_users(["ID"]),
        calls.add_events([]),
        calls.popular(),
        calls.opt_out("ID"),
        calls.opt_in("ID"),
        calls.erase("ID"),
        calls.experiments(),
        calls.models(),
        calls.model("ID"),
        calls.load_model("ID"),
        calls.activate_model("ID"),
        calls.roll_back(),
        calls.set_traffic(),
        calls.find_users(),
        calls.find_items(),
        calls.similar_items("ID"),
        client_items.item("ID"),
        client_items.change_item("ID"),
        client_items.change_items({}),
        client_items.put_list("ID", []),
        client_items.uploaded_list("ID"),
        client_items.uploaded_lists(),
        client_items.delete_list("ID"),
        calls.history("ID"),
        calls.user_map(),
        calls.place("ID"),
        calls.activity(),
    ]
    ours = {(call.method, call.path) for call in made} | {("POST", batches.PATH)}
    document = web.get(f"{address}/openapi.json").json()["paths"]
    offered = {
        (method.upper(), re.sub(r"\{\w+\}", "ID", path))
        for path, operations in document.items()
        for method in operations
        if path.startswith("/v1/")
    }
    assert ours == offered


def test_what_may_be_wished_is_what_the_service_takes() -> None:
    taken = schemas.RecommendationRequest.model_fields.keys()
    assert calls.Wishes.__annotations__.keys() <= taken
    assert calls.Options.__annotations__.keys() <= schemas.RecommendationParameters.model_fields.keys()
