"""Bodies of recommendations, for one user and for many."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from diffcdr.filtering.caps import caps_of
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.recommend.query import NAMED, EmptyReason, UnexplainedReason
from diffcdr.recommend.recommender import FallbackReason, Query, Strategy
from service.bundles.registry import MAX_K
from service.schemas.base import WHOLE, Body, Id, ModelName, SentId, Timeout
from service.schemas.examples import BOOK, RECOMMENDATION_ID
from service.schemas.filters import CapsByName, CapsText, FilterText, caps_in, filter_in

MAX_LISTED = 1000
"""Most excluded items and most ratings of a history in one request."""
MAX_LISTED_IN_ADDRESS = 50
"""Most excluded items in a query string; servers and proxies limit the length of addresses."""


RecommendationId = Annotated[
    str,
    Field(
        description="Send it with events about this list (POST /v1/events). Signed; contains bundle, arm and time, "
        "but no user id.",
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
            description="For pages: skip this many items. Send it with every page, 0 with the first: "
            f"all are cut from one list of {MAX_K}, which changes only with the bundle and the user's ratings.",
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
    explain: Annotated[bool, Field(description="Explain how each score adds up from the user's ratings.")] = False
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
    filter: Annotated[
        ItemFilter | None,
        Field(description="Which items the list may contain. The list has exactly the best of them."),
    ] = None
    caps: CapsByName | None = None

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
            filter=self.filter,
            caps=caps_of(self.caps),
            allow_fallback=self.fallback == "allow",
        )


class RecommendationRequest(BatchUser):
    """Who wants recommendations, and of what kind."""

    timeout_ms: Timeout = None


class RecommendationParameters(_Options):
    """The same as query parameters; the user id is in the path."""

    # Query parameters are text, so numbers are parsed from it.
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
    filter: FilterText = None
    caps: CapsText = None
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
            filter=filter_in(self.filter),
            caps=caps_in(self.caps),
            allow_fallback=self.fallback == "allow",
        )


class SourceShare(Body):
    """A source rating that raised the score of the item."""

    item_id: str
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None
    rating: float
    share: Annotated[float, Field(gt=0, description="How much of the item's score comes from this rating.")]


class Explanation(Body):
    """How a score adds up: the sum of the shares of `sources` and of all other members."""

    sources: Annotated[
        list[SourceShare],
        Field(max_length=NAMED, description="The source ratings that raised the score most, largest share first."),
    ]
    other_sources: Annotated[float, Field(description="All other source ratings, also those that lower the score.")]
    target_ratings: Annotated[float, Field(description="All of the user's target ratings together.")]
    base: Annotated[float, Field(description="The score for a user without ratings: the item's bias and popularity.")]
    rest: Annotated[float, Field(description="What no other part accounts for, for example rounding.")]


class Item(Body):
    """One recommended item."""

    item_id: str
    score: Annotated[float, Field(description="Predicted score; on the popular list, the number of ratings.")]
    rank: Annotated[int, Field(ge=1, description="Rank in the whole list, from 1.")]
    title: Annotated[str | None, Field(description="Left out where unknown.")] = None
    explanation: Annotated[
        Explanation | None,
        Field(description="Only with `explain`; null if there is no explanation (see `unexplained_reason`)."),
    ] = None


Unexplained = Annotated[
    UnexplainedReason | None,
    Field(
        description="Only with `explain`: why there is no explanation. `not_personal`: this is the popular list. "
        "`no_histories`: the bundle does not contain the user's ratings. `no_item_vectors`: this model does not build "
        "user vectors from single ratings. `not_finite`: numbers are too large."
    ),
]


Empty = Annotated[
    EmptyReason | None,
    Field(
        description="Only in a list without items. `no_item_allowed`: filter and availability allow no item. "
        "`all_excluded`: all allowed items are seen or excluded. `past_the_end`: the page begins after the end of the "
        "list. `availability_unknown`: availability could not be read since the start."
    ),
]


class RecommendationAnswer(Body):
    """A ranked list, best first, with its strategy and the reason for a fallback."""

    items: Annotated[list[Item], Field(description="At most k; fewer, or none, if no more items are left.")]
    strategy: Strategy
    fallback_reason: FallbackReason | None
    unexplained_reason: Unexplained = None
    empty_reason: Empty = None
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
    empty_reason: Empty = None
    bundle: str | None = None
    recommendation_id: RecommendationId | None = None
    error: BatchError | None = None


class PopularAnswer(Body):
    """The most rated items, most first."""

    items: Annotated[list[Item], Field(description="At most k; all items if there are fewer.")]
    empty_reason: Empty = None
    bundle: str
    recommendation_id: RecommendationId
