"""Bodies about what is kept of people: their ratings, and that they are to be forgotten."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.base import Body, SentId
from service.state.store import Domain

MAX_EVENTS = 1000
"""Most ratings in one request."""


class RatingEvent(Body):
    """A rating that a user gave to an item."""

    event_id: Annotated[SentId, Field(description="Drawn by the sender, another for each rating of a user.")]
    user_id: Annotated[SentId, Field(description="The user, as in the rating files.")]
    item_id: Annotated[SentId, Field(description="The item, as in the rating files.")]
    rating: float
    domain: Annotated[Domain, Field(description="Where the item is from.")] = "source"


class EventsRequest(Body):
    """Ratings to remember, oldest first."""

    events: Annotated[tuple[RatingEvent, ...], Field(min_length=1, max_length=MAX_EVENTS, fail_fast=True)]


class RejectedEvent(Body):
    """A rating that is not remembered; sending it again will not change that."""

    index: Annotated[int, Field(ge=0, description="Position in the request, from 0.")]
    event_id: str
    code: Annotated[Literal["opted_out"], Field(description="The user opted out or was erased.")]


class EventsAnswer(Body):
    """What became of the ratings; each is counted once."""

    accepted: Annotated[int, Field(ge=0, description="Remembered now.")]
    duplicates: Annotated[int, Field(ge=0, description="Remembered before: the user has an event of this id.")]
    rejected: list[RejectedEvent]
    request_id: str


class ErasureReceipt(Body):
    """Proof that the wish was taken down; the same for every repetition."""

    receipt: str
    erased_at: Annotated[str, Field(description="ISO 8601, UTC, of the first time.")]
