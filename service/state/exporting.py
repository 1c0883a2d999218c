"""The events that may be learnt from: all that are kept, but for those of people who do not want it."""

from __future__ import annotations

from dataclasses import dataclass

from service.state.events.hours import HOUR_SECONDS
from service.state.events.kinds import KeptEvent
from service.state.store import StateBroken, Store


@dataclass(frozen=True)
class Exported:
    """``events`` by user, each user's oldest first; and how many were left out, and why.

    ``suppressed``: of people who opted out or were erased; ``undated``: without a known time, where one was asked for.
    """

    events: list[KeptEvent]
    suppressed: int
    undated: int


async def export_events(store: Store, *, since: float | None = None) -> Exported:
    """Read every event of the hour of ``since`` (seconds since 1970) and later; all for None.

    Who opted out or was erased is asked after the events were read, so nobody is missed who was while reading.

    Raises:
        StateUnavailable: the store does not answer; StateBroken: it is not the one it was when this began. Nobody can
            tell then who is to be left out.
    """
    before = await store.version()
    kept = [event async for event in store.events()]
    # From the first change on: nothing known of before is believed.
    suppressed = (await store.changes(0)).suppressed
    after = await store.version()
    # A store that nobody was suppressed in has no name yet, and gets one with the first.
    if after.epoch != before.epoch or (before.store and after.store != before.store):
        raise StateBroken("the state was replaced or restarted while events were read; try again")
    if after.sequence < before.sequence:
        raise StateBroken("the state was rolled back while events were read; try again")
    allowed = [event for event in kept if not suppressed.get(event.user_id, False)]
    dated = allowed if since is None else [event for event in allowed if event.at is not None]
    first = since if since is None else since - HOUR_SECONDS
    events = [event for event in dated if first is None or (event.at is not None and event.at > first)]
    events.sort(key=lambda event: (event.user_id, event.number, event.type))
    return Exported(events, suppressed=len(kept) - len(allowed), undated=len(allowed) - len(dated))
