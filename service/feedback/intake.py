"""Validation of sent events before any is stored: types, times, and recommendation ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from diffcdr.event_weights import RATING
from service.feedback.arms import Arm
from service.feedback.event_types import EventTypes
from service.feedback.recommendation_ids import NotOurs, RecommendationIds
from service.settings import Settings
from service.state.events.kinds import Event, Trial

SKEW_SECONDS = 300.0
"""Largest difference allowed between the clocks of senders and replicas."""
HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class Fault:
    """What is wrong with the ``field`` of the event at ``index``, and what to do."""

    index: int
    field: str
    detail: str


class Unusable(Exception):
    """Some events are invalid, so none was stored."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].detail)
        self.faults = tuple(faults)


@dataclass(frozen=True)
class EventIntake:
    """Checks events and prepares them for storage; ``clock`` in seconds since 1970."""

    types: EventTypes
    ids: RecommendationIds
    window_hours: float
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, settings: Settings, ids: RecommendationIds) -> EventIntake:
        """Configured by ``settings``. Raises InputError if types or weights cannot be parsed."""
        return cls(EventTypes.of(settings), ids, settings.attribution_hours)

    def ready(self, events: Sequence[Event]) -> list[Event]:
        """``events``, each with the experiment it counts for. Raises Unusable, which names every invalid event."""
        now, faults, ready = self.clock(), list[Fault](), list[Event]()
        for index, event in enumerate(events):
            found = self._check(event, now)
            if isinstance(found, Event):
                ready.append(found)
            else:
                faults.append(Fault(index, *found))
        if faults:
            raise Unusable(faults)
        return ready

    def _check(self, event: Event, now: float) -> Event | tuple[str, str]:
        """``event`` prepared for storage, or the name of its invalid field and the reason."""
        if event.type not in self.types.weights.types:
            known = ", ".join(self.types.weights.types)
            return "type", f"unknown event type; known types: {known}; add others in DIFFCDR_EVENT_WEIGHTS"
        if event.type == RATING and event.rating is None:
            return "rating", "an event of type rating needs a rating"
        if event.at is not None and event.at > now + SKEW_SECONDS:
            return "timestamp", "this is in the future; send seconds since 1970, UTC"
        event = replace(event, liked=self.types.likes(event.type, event.rating))
        return event if event.recommendation_id is None else self._attribute(event, event.recommendation_id, now)

    def _attribute(self, event: Event, text: str, now: float) -> Event | tuple[str, str]:
        try:
            shown = self.ids.read(text, user_id=event.user_id)
        except NotOurs as error:
            return "recommendation_id", f"{error}; send the event without it"
        at = now if event.at is None else event.at
        if shown.at > now + SKEW_SECONDS:
            return "recommendation_id", "it was issued in the future; check the clocks of the replicas"
        if at < shown.at - SKEW_SECONDS:
            return "timestamp", "this is before the list was issued"
        if at > shown.at + self.window_hours * HOUR_SECONDS:
            late = f"the list is older than the {self.window_hours:g} hours within which events count for it"
            return "recommendation_id", f"{late} (DIFFCDR_ATTRIBUTION_HOURS); send the event without it"
        counter = self.types.counters.get(event.type)
        if counter is None or shown.arm not in (Arm.STABLE, Arm.CANARY):
            return event
        arm = shown.arm
        trial = Trial(shown.experiment, "canary" if arm == Arm.CANARY else "stable", shown.percent, shown.bundle)
        return replace(event, trial=trial, counter=counter)
