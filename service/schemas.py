"""Request and response bodies. Unknown fields are refused and numbers must be numbers: a typo never passes silently."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from diffcdr.ids import MAX_ID_BYTES
from diffcdr.recommender import FallbackReason, Query, Strategy
from service.registry import MAX_K, State


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 20.0 is the integer 20."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Comes last in an annotation: bounds before it stay bounds of the integer, and so stand in the document."""
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)]
Timeout = Annotated[int | None, Field(ge=1, le=60_000, description="Past this, the answer is 504."), WHOLE]
MAX_LISTED = 1000
"""Most excluded items and most ratings of a history in one request."""
MAX_LISTED_IN_ADDRESS = 50
"""Most excluded items in a query string; servers and proxies bound how long an address may be."""
MAX_EMBEDDINGS = 1024
"""Most user ids or vectors in one embeddings request."""


class _Body(BaseModel):
    # Strict: "20" is not a number and 1 is not true. NaN and infinities are not JSON.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


class Rating(_Body):
    """What the user thought of one item of the source domain."""

    item_id: Id
    rating: float


class _Options(_Body):
    """What both forms of the request have in common."""

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.", examples=[20]), WHOLE] = 20
    exclude_seen: Annotated[bool, Field(description="Leave out what the user has already rated.")] = True
    fallback: Annotated[
        Literal["allow", "deny"],
        Field(description="`deny`: answer 404 rather than with the popular list."),
    ] = "allow"
    model: Annotated[Id | None, Field(description="A bundle id of /v1/models; the stable one if left out.")] = None


class BatchUser(_Options):
    """One user of a batch: who wants recommendations, and of what kind."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["user_id"], "properties": {"user_id": {"type": "string"}}},
                {"required": ["history"], "properties": {"history": {"type": "array", "minItems": 1}}},
            ],
            "examples": [
                {"user_id": "u00042", "k": 20},
                {"user_id": "u00042", "k": 5, "exclude_items": ["t00007"], "fallback": "deny"},
                {"history": [{"item_id": "s00003", "rating": 5}, {"item_id": "s00019", "rating": 2}]},
            ],
        }
    )

    user_id: Annotated[Id | None, Field(description="The user, as in the rating files.")] = None
    exclude_items: Annotated[
        tuple[Id, ...], Field(max_length=MAX_LISTED, description="Target items never to answer with.")
    ] = ()
    history: Annotated[
        tuple[Rating, ...],
        Field(max_length=MAX_LISTED, description="Source-domain ratings to use instead of what is stored."),
    ] = ()

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.user_id is None and not self.history:
            raise ValueError("give user_id, or history for a user without an id")
        return self

    def query(self) -> Query:
        """What to ask the recommender."""
        return Query(
            user_id=self.user_id,
            k=self.k,
            exclude_items=self.exclude_items,
            exclude_seen=self.exclude_seen,
            history=tuple((rating.item_id, rating.rating) for rating in self.history),
            allow_fallback=self.fallback == "allow",
        )


class RecommendationRequest(BatchUser):
    """Who wants recommendations, and of what kind."""

    timeout_ms: Timeout = None


class RecommendationParameters(_Options):
    """The same, as a query string; the user stands in the path."""

    # Query strings hold text, so numbers are read from it.
    model_config = ConfigDict(strict=False)

    exclude_items: Annotated[
        tuple[Id, ...],
        Field(max_length=MAX_LISTED_IN_ADDRESS, description="Target items never to answer with; repeatable."),
    ] = ()
    timeout_ms: Timeout = None

    def query(self, user_id: str) -> Query:
        """What to ask the recommender."""
        return Query(
            user_id=user_id,
            k=self.k,
            exclude_items=self.exclude_items,
            exclude_seen=self.exclude_seen,
            allow_fallback=self.fallback == "allow",
        )


class Item(_Body):
    """One recommended item."""

    item_id: str
    score: Annotated[float, Field(description="Predicted score; on the popular list, the number of ratings.")]
    rank: Annotated[int, Field(ge=1)]
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None


class RecommendationAnswer(_Body):
    """A ranked list, best first, and why it is what it is."""

    items: Annotated[list[Item], Field(description="At most k; fewer where the catalogue has no more to offer.")]
    strategy: Strategy
    fallback_reason: FallbackReason | None
    bundle: Annotated[str, Field(description="Id of the bundle that answered.")]
    request_id: str


class BatchError(_Body):
    """Why one user of a batch got no list."""

    code: str
    status: int
    detail: str
    errors: list[dict[str, str]]


class BatchLine(_Body):
    """One line of a batch answer: a list or an error. Lines come in the order of the request."""

    index: Annotated[int, Field(ge=0, description="Position in the request, from 0; blank lines do not count.")]
    user_id: str | None
    items: list[Item] | None = None
    strategy: Strategy | None = None
    fallback_reason: FallbackReason | None = None
    bundle: str | None = None
    error: BatchError | None = None


class EmbeddingsRequest(_Body):
    """Users or source vectors to carry into the target domain."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["user_ids"], "properties": {"user_ids": {"type": "array"}}},
                {"required": ["vectors"], "properties": {"vectors": {"type": "array"}}},
            ],
            "examples": [{"user_ids": ["u00042", "u00043"]}, {"user_ids": ["u00042"], "encoding": "base64"}],
        }
    )

    user_ids: Annotated[tuple[Id, ...] | None, Field(min_length=1, max_length=MAX_EMBEDDINGS)] = None
    vectors: Annotated[
        tuple[tuple[float, ...], ...] | None,
        Field(min_length=1, max_length=MAX_EMBEDDINGS, description="Source vectors, `source_dim` numbers each."),
    ] = None
    encoding: Annotated[
        Literal["float", "base64"], Field(description="`base64`: little-endian float32, base64-encoded.")
    ] = "float"
    model: Annotated[Id | None, Field(description="A bundle id of /v1/models; the stable one if left out.")] = None
    timeout_ms: Timeout = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.user_ids is None) == (self.vectors is None):
            raise ValueError("give either user_ids or vectors")
        return self


class Embedding(_Body):
    """One target vector."""

    index: int
    user_id: str | None = None
    found: Annotated[bool, Field(description="False where nothing is known about the user; the vector is then null.")]
    vector: list[float] | str | None


class EmbeddingsAnswer(_Body):
    """Target vectors in the order of the request."""

    embeddings: list[Embedding]
    dim: int
    encoding: Literal["float", "base64"]
    bundle: str
    request_id: str


class ErasureReceipt(_Body):
    """Proof that the wish was taken down; the same for every repetition."""

    receipt: str
    erased_at: Annotated[str, Field(description="ISO 8601, UTC, of the first time.")]


class PopularAnswer(_Body):
    """The most rated items, most first."""

    items: Annotated[list[Item], Field(description="At most k; all items where there are fewer.")]
    bundle: str


class ModelSummary(_Body):
    """A loaded bundle, and how it did against the plain baselines on the same held-out users."""

    id: str
    state: State
    model: str
    preset: str
    device: str
    created_at: datetime
    loaded_at: datetime
    counts: dict[str, int]
    metrics: Annotated[
        dict[str, dict[str, dict[str, float]]], Field(description="metrics[scope][model][metric] of the manifest.")
    ]


class Refusal(_Body):
    """A bundle that was not taken; everything stayed as it was."""

    path: str
    reason: str
    at: datetime


class TrafficSplit(_Body):
    """Who is answered by the canary: `percent` of user ids, by a salted hash of the id, the same on every replica."""

    canary: Annotated[Id | None, Field(description="A loaded model; null ends the split.")] = None
    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    salt: Annotated[str, Field(max_length=64, description="Another salt draws other users.")] = ""


class ModelsAnswer(_Body):
    """Every loaded bundle, the stable one first."""

    models: list[ModelSummary]
    traffic: TrafficSplit
    refused: Annotated[list[Refusal], Field(description="The last bundles that were not taken, newest first.")]


class LoadRequest(_Body):
    """A bundle to load beside those that serve."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "candidate"}]})

    path: Annotated[str, Field(min_length=1, max_length=4096, description="Directory below the bundle root.")]
    activate: Annotated[bool, Field(description="Make it stable as soon as it is ready.")] = False


class ActivateRequest(_Body):
    """Which loaded model is to be stable."""

    model: Id


class Health(_Body):
    """Whether the service is up."""

    status: Literal["ok", "draining", "stalled"]


class Readiness(Health):
    """Whether the service wants traffic, and the state of each part."""

    components: Annotated[
        dict[str, Literal["ok", "draining", "stalled", "degraded"]],
        Field(description="`degraded` state: opt-outs are known from a copy, and none can be taken down."),
    ]
    bundle: str
    device: Annotated[str, Field(description="What transfers run on: cpu or cuda.")]
