"""Bodies of recommendations, for one user and for many."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from diffcdr.recommend.query import NAMED, UnexplainedReason
from diffcdr.recommend.recommender import FallbackReason, Query, Strategy
from service.bundles.registry import MAX_K
from service.schemas.base import WHOLE, Body, Id, ModelName, SentId, Timeout
from service.schemas.examples import BOOK, RECOMMENDATION_ID

MAX_LISTED = 1000
"""Most excluded items and most ratings of a history in one request."""
MAX_LISTED_IN_ADDRESS = 50
"""Most excluded items in a query string; servers and proxies bound how long an address may be."""


RecommendationId = Annotated[
    str,
    Field(
        description="Names the list in the events that come of it (POST /v1/events). Signed; holds bundle, arm and "
        "time, and no user id.",
        examples=[RECOMMENDATION_ID],
    ),
]


class Rating(Body):
    """What the user thought of one item."""

    item_id: SentId
    rating: float


class _Options(Body):
    """What both forms of the request have in common."""

    k: Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.", examples=[20]), WHOLE] = 20
    offset: Annotated[
        int | None,
        Field(
            ge=0,
            lt=MAX_K,
            description="A page: leave out so many items from the beginning. Name it with every page, 0 with the "
            f"first: all are cut from one list of {MAX_K}, which changes only with the bundle and the user's ratings.",
            examples=[0],
        ),
        WHOLE,
    ] = None
    exclude_seen: Annotated[bool, Field(description="Leave out what the user has already rated.")] = True
    diversity: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            allow_inf_nan=False,
            description="Above 0, personal lists become less repetitive. Scores then need not fall.",
            examples=[0.2],
        ),
    ] = 0.0
    fallback: Annotated[
        Literal["allow", "deny"],
        Field(description="`deny`: answer 404 instead of the popular list."),
    ] = "allow"
    explain: Annotated[
        bool, Field(description="Say of each item which of the user's ratings its score is the sum of.")
    ] = False
    model: ModelName = None

    @property
    def length(self) -> int:
        """The length of the list that the page is cut from."""
        return min(self.k, MAX_K - (self.offset or 0))


class BatchUser(_Options):
    """One user of a batch: who wants recommendations, and of what kind."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["user_id"], "properties": {"user_id": {"type": ["string", "integer"]}}},
                {"required": ["history"], "properties": {"history": {"type": "array", "minItems": 1}}},
                {"required": ["target_history"], "properties": {"target_history": {"type": "array", "minItems": 1}}},
            ],
        }
    )

    user_id: Annotated[SentId | None, Field(description="The user, as in the rating files.")] = None
    exclude_items: Annotated[
        tuple[SentId, ...],
        Field(max_length=MAX_LISTED, fail_fast=True, description="Target items to exclude."),
    ] = ()
    history: Annotated[
        tuple[Rating, ...],
        Field(
            max_length=MAX_LISTED,
            fail_fast=True,
            description="Source-domain ratings to use instead of the stored ones.",
        ),
    ] = ()

    target_history: Annotated[
        tuple[Rating, ...],
        Field(
            max_length=MAX_LISTED,
            fail_fast=True,
            description="Target-domain ratings: they change the list, and their items count as seen.",
        ),
    ] = ()

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.user_id is None and not self.history and not self.target_history:
            raise ValueError("give user_id, or history or target_history for a user without an id")
        return self

    def query(self) -> Query:
        """The query for the recommender."""
        return Query(
            user_id=self.user_id,
            k=self.length,
            exclude_items=self.exclude_items,
            exclude_seen=self.exclude_seen,
            diversity=self.diversity,
            offset=self.offset,
            explain=self.explain,
            history=tuple((rating.item_id, rating.rating) for rating in self.history),
            target_history=tuple((rating.item_id, rating.rating) for rating in self.target_history),
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
        Field(
            max_length=MAX_LISTED_IN_ADDRESS,
            fail_fast=True,
            description="Target items to exclude; repeatable.",
            examples=[[BOOK]],
        ),
    ] = ()
    timeout_ms: Timeout = None

    def query(self, user_id: str) -> Query:
        """The query for the recommender."""
        return Query(
            user_id=user_id,
            k=self.length,
            exclude_items=self.exclude_items,
            exclude_seen=self.exclude_seen,
            diversity=self.diversity,
            offset=self.offset,
            explain=self.explain,
            allow_fallback=self.fallback == "allow",
        )


class SourceShare(Body):
    """A source rating that spoke for the item."""

    item_id: str
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None
    rating: float
    share: Annotated[float, Field(gt=0, description="How much of the item's score comes from this rating.")]


class Explanation(Body):
    """What a score is the sum of: the shares of `sources`, and all other members."""

    sources: Annotated[
        list[SourceShare],
        Field(max_length=NAMED, description="The source ratings that spoke most for the item, most first."),
    ]
    other_sources: Annotated[float, Field(description="All other source ratings, those against the item included.")]
    target_ratings: Annotated[float, Field(description="The user's target ratings.")]
    base: Annotated[float, Field(description="What a user without ratings has: the item's bias, what is popular.")]
    rest: Annotated[float, Field(description="What is left: rounding, and what the ratings alone do not give.")]


class Item(Body):
    """One recommended item."""

    item_id: str
    score: Annotated[float, Field(description="Predicted score; on the popular list, the number of ratings.")]
    rank: Annotated[int, Field(ge=1, description="Rank in the whole list, from 1.")]
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None
    explanation: Annotated[
        Explanation | None,
        Field(description="With `explain`; null where `unexplained_reason` says why. Left out without."),
    ] = None


Unexplained = Annotated[
    UnexplainedReason | None,
    Field(
        description="With `explain`, why there is no explanation: the list is the popular one (`not_personal`); what "
        "the user rated is not in the bundle (`no_histories`); no rule leads from source items to this bundle's scores "
        "(`no_item_vectors`); numbers are too large (`not_finite`). Left out without."
    ),
]


class RecommendationAnswer(Body):
    """A ranked list, best first, with its strategy and the reason for a fallback."""

    items: Annotated[list[Item], Field(description="At most k; fewer, or none, if no more items are left.")]
    strategy: Strategy
    fallback_reason: FallbackReason | None
    unexplained_reason: Unexplained = None
    bundle: Annotated[str, Field(description="Id of the bundle that answered.")]
    recommendation_id: RecommendationId
    request_id: str


class BatchError(Body):
    """Why one user of a batch got no list."""

    code: str
    status: int
    detail: str
    errors: list[dict[str, str]]


class BatchLine(Body):
    """One line of a batch answer: a list or an error. Lines come in the order of the request."""

    index: Annotated[int, Field(ge=0, description="Position in the request, from 0; blank lines do not count.")]
    user_id: str | None
    items: list[Item] | None = None
    strategy: Strategy | None = None
    fallback_reason: FallbackReason | None = None
    unexplained_reason: Unexplained = None
    bundle: str | None = None
    recommendation_id: RecommendationId | None = None
    error: BatchError | None = None


class PopularAnswer(Body):
    """The most rated items, most first."""

    items: Annotated[list[Item], Field(description="At most k; all items if there are fewer.")]
    bundle: str
    recommendation_id: RecommendationId
