"""Bodies about stored user data: events, opt-outs and erasures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from diffcdr.event_weights import TYPE_PATTERN
from service.feedback.recommendation_ids import ID_CHARACTERS
from service.schemas.base import WHOLE, Body, SentId
from service.schemas.examples import RECOMMENDATION_ID
from service.state.events.kinds import Domain, Event

MAX_EVENTS = 1000
"""Most events in one request."""
MAX_POSITION = 100_000
MAX_TIME = 1 << 53


class RatingEvent(Body):
    """A rating that a user gave to an item, or something else that the user did with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["rating"], "properties": {"rating": {"type": "number"}}},
                {"required": ["type"], "properties": {"type": {"type": "string", "not": {"const": "rating"}}}},
            ],
        }
    )

    event_id: Annotated[SentId, Field(description="Chosen by the sender, unique for each event of a user.")]
    user_id: Annotated[SentId, Field(description="The user, as in the rating files.")]
    item_id: Annotated[SentId, Field(description="The item, as in the rating files.")]
    rating: Annotated[float | None, Field(description="Required for type `rating`, optional for other types.")] = None
    domain: Annotated[
        Domain | None,
        Field(description="Domain of the item. Default: `target` with a `recommendation_id`, else `source`."),
    ] = None
    type: Annotated[
        str,
        Field(
            pattern=TYPE_PATTERN,
            description="`rating`, `impression`, `click`, `purchase`, or another type in DIFFCDR_EVENT_WEIGHTS.",
            examples=["click"],
        ),
    ] = "rating"
    recommendation_id: Annotated[
        str | None,
        Field(
            pattern=f"^[A-Za-z0-9_-]{{{ID_CHARACTERS}}}$",
            description="Id of the list that led to the event; events count for it for DIFFCDR_ATTRIBUTION_HOURS.",
            examples=[RECOMMENDATION_ID],
        ),
    ] = None
    position: Annotated[
        int | None, Field(ge=1, le=MAX_POSITION, description="The item's `rank` in that list."), WHOLE
    ] = None
    timestamp: Annotated[
        int | None,
        Field(ge=0, le=MAX_TIME, description="When the event happened, in seconds since 1970; now if left out."),
        WHOLE,
    ] = None

    def event(self) -> Event:
        """The event as it is stored."""
        default: Domain = "source" if self.recommendation_id is None else "target"
        return Event(
            self.event_id,
            self.user_id,
            self.item_id,
            self.rating,
            domain=self.domain or default,
            type=self.type,
            recommendation_id=self.recommendation_id,
            position=self.position,
            at=self.timestamp,
        )


class EventsRequest(Body):
    """Events to store, oldest first."""

    events: Annotated[tuple[RatingEvent, ...], Field(min_length=1, max_length=MAX_EVENTS, fail_fast=True)]


class RejectedEvent(Body):
    """An event that was not stored; sending it again does not help."""

    index: Annotated[int, Field(ge=0, description="Position in the request, from 0.")]
    event_id: str
    code: Annotated[Literal["opted_out"], Field(description="The user opted out or was erased.")]


class EventsAnswer(Body):
    """How many events were stored; each event is counted once."""

    accepted: Annotated[int, Field(ge=0, description="Stored now.")]
    duplicates: Annotated[int, Field(ge=0, description="Stored before: the user has an event with this id.")]
    rejected: list[RejectedEvent]
    request_id: str


class ErasureReceipt(Body):
    """Receipt of the erasure; the same for every repetition."""

    receipt: str
    erased_at: Annotated[str, Field(description="Time of the first request, ISO 8601, UTC.")]
