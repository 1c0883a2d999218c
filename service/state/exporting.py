"""Exports the events that training may use: all stored events except those of users who opted out or were erased."""

from __future__ import annotations

from dataclasses import dataclass

from service.state.events.hours import HOUR_SECONDS
from service.state.events.kinds import KeptEvent
from service.state.store import StateBroken, Store


@dataclass(frozen=True)
class Exported:
    """``events`` by user, each user's oldest first, and the number of events left out.

    ``suppressed``: of users who opted out or were erased; ``undated``: without a known time, if one was required.
    """

    events: list[KeptEvent]
    suppressed: int
    undated: int


async def export_events(store: Store, *, since: float | None = None) -> Exported:
    """Read every event from the hour of ``since`` (seconds since 1970) on; all events for None.

    Opt-outs and erasures are read after the events, so those made during the export are respected.

    Raises:
        StateUnavailable: the store does not answer. StateBroken: it was replaced or rolled back during the export. In
            both cases it is unknown who must be left out.
    """
    before = await store.version()
    kept = [event async for event in store.events()]
    # From the first change on: no earlier copy is trusted.
    suppressed = (await store.changes(0)).suppressed
    after = await store.version()
    # A store has no name until the first user is suppressed in it.
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
