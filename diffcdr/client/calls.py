"""Every call of /v1 as a value: what to send, how to read the answer, and whether it may be retried.

Both clients take their methods from here (:mod:`diffcdr.client.client`, :mod:`diffcdr.client.async_client`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx2 as httpx
import numpy as np
import numpy.typing as npt

from diffcdr.client.answers import Embeddings, ErasureReceipt, EventsResult, ItemList, RecommendationList
from diffcdr.client.experiment_answers import ExperimentsResult
from diffcdr.client.lookup_answers import Activity, FoundItems, History, Place, SimilarItems, UserList, UserMap
from diffcdr.client.model_answers import ModelsResult, ModelSummary, Readiness, ShadowShare

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. ``repeatable``: sending it twice does what sending it once does.

    ``keyed``: it takes an ``Idempotency-Key``, under which a repetition is answered exactly as the first time.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] | None = None
    repeatable: bool = True
    keyed: bool = False


class Options(TypedDict, total=False):
    """Options of a list; those left out have the service's defaults."""

    k: int
    offset: int
    exclude_items: Sequence[str]
    exclude_seen: bool
    diversity: float
    fallback: Literal["allow", "deny"]
    explain: bool
    filter: Mapping[str, Any]
    caps: Mapping[str, int]
    model: str


class Wishes(Options, total=False):
    """Options, and ratings as (item, rating) pairs that come with the request."""

    history: Sequence[tuple[str, float]]
    target_history: Sequence[tuple[str, float]]


class User:
    """One user of a batch, with options: ``User("ann", k=5)``, ``User(history=[("film", 4.0)])``."""

    def __init__(self, user_id: str | None = None, **wishes: Unpack[Wishes]) -> None:
        self.user_id = user_id
        self.wishes = wishes

    def body(self) -> dict[str, Any]:
        """As the service takes it."""
        body = given(user_id=self.user_id) | dict(self.wishes)
        if "history" in self.wishes:
            body["history"] = _ratings(self.wishes["history"])
        if "target_history" in self.wishes:
            body["target_history"] = _ratings(self.wishes["target_history"])
        return body


@dataclass(frozen=True)
class Event:
    """A rating of an item, or an event of another ``type``: impression, click, purchase, or one that the service knows.

    ``event_id`` is chosen by the sender, unique for each event of a user. ``domain``: the target if there is a
    ``recommendation_id``, else the source. ``position``: the item's ``rank``. ``timestamp``: seconds since 1970.
    """

    event_id: str
    user_id: str
    item_id: str
    rating: float | None = None
    domain: Literal["source", "target"] | None = None
    type: str | None = None
    recommendation_id: str | None = None
    position: int | None = None
    timestamp: int | None = None


def recommend(
    user_id: str | None = None, *, timeout_ms: int | None = None, **wishes: Unpack[Wishes]
) -> Call[RecommendationList]:
    """A ranked list for a user, or for a user with this ``history``; ``wishes`` as in :class:`Wishes`."""
    body = User(user_id, **wishes).body() | given(timeout_ms=timeout_ms)
    return Call("POST", "/v1/recommendations", RecommendationList.read, body=body)


def recommend_user(
    user_id: str, *, timeout_ms: int | None = None, **options: Unpack[Options]
) -> Call[RecommendationList]:
    """The same with GET: for callers behind a cache or a proxy that only knows URLs."""
    parameters = given(
        timeout_ms=timeout_ms, **options | _as_json(filter=options.get("filter"), caps=options.get("caps"))
    )
    return Call("GET", f"{_address(user_id)}/recommendations", RecommendationList.read, parameters=parameters)


def embed_users(
    user_ids: Sequence[str], *, model: str | None = None, timeout_ms: int | None = None
) -> Call[Embeddings]:
    """Target vectors of up to 1,024 users."""
    return _embed({"user_ids": list(user_ids)}, model=model, timeout_ms=timeout_ms)


def embed_vectors(
    vectors: npt.NDArray[np.float32], *, model: str | None = None, timeout_ms: int | None = None
) -> Call[Embeddings]:
    """Source vectors, float32 [B, source_dim], transferred to the target domain; B is at most 1,024."""
    return _embed({"vectors": vectors.tolist()}, model=model, timeout_ms=timeout_ms)


def add_events(events: Iterable[Event]) -> Call[EventsResult]:
    """Store up to 1,000 events, oldest first. Event ids make repetition harmless."""
    # Only given fields are sent: an older service only takes ratings, and refuses unknown fields.
    body = {"events": [given(**asdict(event)) for event in events]}
    return Call("POST", "/v1/events", EventsResult.read, body=body, keyed=True)


def popular(
    *,
    k: int = 20,
    offset: int | None = None,
    filter: Mapping[str, Any] | None = None,
    caps: Mapping[str, int] | None = None,
) -> Call[ItemList]:
    """The most rated items that ``filter`` allows, as unknown users get them; all but the first ``offset``."""
    parameters = given(k=k, offset=offset) | _as_json(filter=filter, caps=caps)
    return Call("GET", "/v1/items/popular", ItemList.read, parameters=parameters)


def opt_out(user_id: str) -> Call[None]:
    """Opt this user out: from now on they get no personal list."""
    return Call("PUT", f"{_address(user_id)}/opt-out", nothing)


def opt_in(user_id: str) -> Call[None]:
    """Revoke an opt-out."""
    return Call("DELETE", f"{_address(user_id)}/opt-out", nothing)


def erase(user_id: str) -> Call[ErasureReceipt]:
    """Forget this user."""
    return Call("DELETE", _address(user_id), ErasureReceipt.read, keyed=True)


def find_users(prefix: str = "", *, limit: int = 20, model: str | None = None) -> Call[UserList]:
    """Up to 100 known user ids that begin with ``prefix``."""
    return Call("GET", "/v1/users", UserList.read, parameters=given(prefix=prefix, limit=limit, model=model))


def find_items(
    q: str = "", *, domain: Literal["source", "target"] = "target", limit: int = 20, model: str | None = None
) -> Call[FoundItems]:
    """Up to 100 items whose id begins with ``q``, then those that have it in their title."""
    return Call("GET", "/v1/items", FoundItems.read, parameters=given(q=q, domain=domain, limit=limit, model=model))


def similar_items(
    item_id: str,
    *,
    k: int = 20,
    domain: Literal["source", "target"] = "target",
    to: Literal["source", "target"] | None = None,
    filter: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> Call[SimilarItems]:
    """Items like this one of ``domain``, of those that ``filter`` allows; ``to`` another domain: what goes with it."""
    path = f"/v1/items/{segment(item_id)}/similar"
    parameters = given(k=k, domain=domain, to=to, model=model) | _as_json(filter=filter)
    return Call("GET", path, SimilarItems.read, parameters=parameters)


def history(user_id: str, *, limit: int = 50, model: str | None = None) -> Call[History]:
    """What a user rated in the source domain, best first; up to 1,000 ratings."""
    parameters = given(limit=limit, model=model)
    return Call("GET", f"{_address(user_id)}/history", History.read, parameters=parameters)


def user_map(*, model: str | None = None) -> Call[UserMap]:
    """A sample of users, and items, in two dimensions."""
    return Call("GET", "/v1/map", UserMap.read, parameters=given(model=model))


def place(user_id: str, *, model: str | None = None) -> Call[Place]:
    """A user's position on that map."""
    return Call("GET", f"{_address(user_id)}/map", Place.read, parameters=given(model=model))


def activity(*, since: float = 0.0) -> Call[Activity]:
    """Totals of the last 15 minutes, every few seconds; of those after ``since`` (seconds since 1970)."""
    return Call("GET", "/v1/activity", Activity.read, parameters={"since": since})


def models() -> Call[ModelsResult]:
    """Every loaded bundle, and the traffic split."""
    return Call("GET", "/v1/models", ModelsResult.read)


def model(model_id: str) -> Call[ModelSummary]:
    """One loaded bundle."""
    return Call("GET", f"/v1/models/{segment(model_id)}", ModelSummary.read)


def experiments() -> Call[ExperimentsResult]:
    """Canary against stable, by the events that came of their lists."""
    return Call("GET", "/v1/experiments", ExperimentsResult.read)


def load_model(path: str, *, activate: bool = False) -> Call[ModelSummary]:
    """Load the bundle at ``path`` below the service's bundle root, in addition to the loaded ones."""
    body = {"path": path, "activate": activate}
    return Call("POST", "/v1/admin/models/load", ModelSummary.read, body=body, repeatable=False)


def activate_model(model_id: str) -> Call[ModelSummary]:
    """Activate a loaded model."""
    # Whether the model that was active is the one to roll back to depends on how often this is sent.
    return Call("POST", "/v1/admin/models/activate", ModelSummary.read, body={"model": model_id}, repeatable=False)


def roll_back() -> Call[ModelSummary]:
    """Go back to the model that was active before; a second call undoes the first."""
    return Call("POST", "/v1/admin/models/rollback", ModelSummary.read, repeatable=False)


def set_traffic(
    *, canary: str | None = None, percent: float = 0.0, salt: str = "", shadow: ShadowShare | None = None
) -> Call[ModelsResult]:
    """Route ``percent`` of the users to ``canary``, and shadow traffic to ``shadow``; without arguments both end."""
    asked = None if shadow is None else shadow.model_dump()
    body = {"canary": canary, "percent": percent, "salt": salt, **given(shadow=asked)}
    return Call("PUT", "/v1/admin/traffic", ModelsResult.read, body=body)


def readiness() -> Call[Readiness]:
    """Whether the service wants traffic; raises :class:`ServiceError` with status 503 where it does not."""
    return Call("GET", "/readyz", Readiness.read)


def _embed(asked: dict[str, Any], *, model: str | None, timeout_ms: int | None) -> Call[Embeddings]:
    body = {**asked, "encoding": "base64", **given(model=model, timeout_ms=timeout_ms)}
    return Call("POST", "/v1/embeddings", Embeddings.read, body=body)


def _ratings(pairs: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"item_id": item_id, "rating": rating} for item_id, rating in pairs]


def _as_json(**values: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ``values`` that are there, as a query string has them."""
    return {name: json.dumps(value, default=list) for name, value in given(**values).items()}


def given(**values: Any) -> dict[str, Any]:
    """The ``values`` that are there."""
    return {name: value for name, value in values.items() if value is not None}


def _address(user_id: str) -> str:
    return f"/v1/users/{segment(user_id)}"


def segment(text: str) -> str:
    """``text`` as one segment of an address. An id of dots alone would name a folder above."""
    return text.replace(".", "%2E") if not text.strip(".") else quote(text, safe="")


def nothing(response: httpx.Response) -> None:
    """There is no body."""
