"""Users who must not get personal lists: a copy of the opt-outs and erasures, checked before every answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from service.state.store import Changes, StateBroken, StateUnavailable, Store, Version

logger = logging.getLogger(__name__)

OVERDUE_SECONDS = 0.01
"""How long an answer waits while an earlier check is overdue, so that callers do not wait one after another."""


class Guard:
    """Knows which users are suppressed.

    Before an answer the store is asked for its last number, with one request for all waiting callers; changes are
    fetched only if the number has grown. So an opt-out applies to every request that begins after it was acknowledged,
    on every replica. If the store does not answer, no list is personal, unless ``copy_seconds`` allows an old copy.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_suppressed: Callable[[str], None] | None = None,
        copy_seconds: float = 0.0,
        patience_seconds: float = 0.25,
    ) -> None:
        """``on_suppressed`` is called with every user who becomes suppressed, so that caches can drop them.

        ``copy_seconds``: how long the copy is used while the store is unreachable. It lacks changes that other
        replicas acknowledge in that time. ``patience_seconds``: how long an answer waits for the store.
        """
        self._store = store
        self._on_suppressed = on_suppressed
        self._copy_seconds = copy_seconds
        self._patience_seconds = patience_seconds
        self._suppressed: set[str] = set()
        self._version = Version()
        self._checked = -math.inf
        self._running: _Check | None = None
        self._next: _Check | None = None
        self._healthy = self._overdue = False
        self._lacking = True
        self._said = ""
        self._timer_at = math.inf

    @property
    def healthy(self) -> bool:
        """Whether the store answered in time when it was last asked."""
        return self._healthy and not self._overdue

    @property
    def certain(self) -> bool:
        """Whether it is known who is suppressed; if not, no list is personal."""
        if self._lacking:
            return False
        return self.healthy or self.age <= self._copy_seconds

    @property
    def age(self) -> float:
        """Seconds since the copy was last known to be current; infinite before the first answer of the store."""
        return time.monotonic() - self._checked

    async def refresh(self, *, within: float = math.inf) -> bool:
        """Bring the copy up to date with a check that begins after this call; :attr:`certain`. Never raises.

        Takes at most the guard's patience, or ``within`` seconds; False if that was not enough.
        """
        # A check already under way may miss changes acknowledged before this call. The next check cannot, and all
        # callers until it begins share it.
        if self._next is None:
            patience = OVERDUE_SECONDS if self._overdue else self._patience_seconds
            self._next = _Check(self, before=self._running, patience=patience)
            self._watch_until(self._next.due)
        waited = asyncio.shield(self._next.told)
        if within >= self._patience_seconds:
            await waited
        elif not (await asyncio.wait((waited,), timeout=within))[0]:
            return False
        return self.certain

    def allows(self, user_id: str | None) -> bool:
        """Whether the user's data may be used; False for everyone while that is unknown (see :attr:`certain`)."""
        return self.certain and (user_id is None or user_id not in self._suppressed)

    def _watch_until(self, due: float) -> None:
        # One timer for many checks, most of which finish early: a timer per check would cost as much as a check.
        if due < self._timer_at:
            self._timer_at = due
            asyncio.get_running_loop().call_at(due, self._look_for_late_ones, due)

    def _look_for_late_ones(self, due: float) -> None:
        if due == self._timer_at:
            self._timer_at = math.inf
        for check in (self._running, self._next):
            if check is None or check.told.done():
                continue
            if check.due <= due:
                check.late = self._overdue = True
                check.tell()
            else:
                self._watch_until(check.due)

    async def rest(self, seconds: float) -> None:
        """Wait until no check is running, for ``seconds`` at most."""
        running = [check.task for check in (self._running, self._next) if check is not None and not check.task.done()]
        if running:
            await asyncio.wait(running, timeout=seconds)

    async def check(self, this: _Check, before: _Check | None) -> None:
        """Ask the store after ``before`` has finished; the work of :meth:`refresh`."""
        if before is not None:
            await asyncio.wait((before.task,))
        self._running, self._next = this, None
        began = time.monotonic()
        try:
            version = await self._store.version()
            if version != self._version:
                # From here on the copy is incomplete until the changes are fetched.
                self._lacking = True
                await self._follow(version)
        except Exception as error:
            self._fail(error, hung=time.monotonic() - began > OVERDUE_SECONDS)
            this.tell()
            return
        if self._said:
            logger.info("state is reachable again")
        self._healthy, self._lacking, self._checked, self._said = True, False, began, ""
        # Callers who gave up on the next check began after this one, so its result does not apply to them.
        self._overdue = self._others_gave_up()
        this.tell()

    def _others_gave_up(self) -> bool:
        return self._next is not None and self._next.late

    def _fail(self, error: Exception, *, hung: bool) -> None:
        self._healthy = False
        self._overdue = hung
        if not isinstance(error, StateUnavailable) or isinstance(error, StateBroken):
            # The store may have lost changes, so the copy is not trusted either.
            self._lacking = True
        said = f"{type(error).__name__}: {error}"
        if said != self._said:
            consequence = "the copy of opt-outs is used for now" if self.certain else "no list is personal"
            logger.error("the state cannot be read, %s: %s", consequence, said)
        self._said = said

    async def _follow(self, version: Version) -> None:
        known = self._version
        if (version.store, version.epoch) != (known.store, known.epoch) or version.sequence < known.sequence:
            await self._begin_again(version)
            return
        changes = await self._changes(known.sequence, version)
        self._take(changes.suppressed)
        self._version = Version(version.store, changes.sequence, version.epoch)

    async def _begin_again(self, version: Version) -> None:
        """The store was restarted, and perhaps rolled back, or is another store.

        Known opt-outs stay in force. Only changes later than all that are known here can lift a suppression.
        """
        known = self._version
        everything = await self._changes(0, version)
        if known.sequence and (version.store != known.store or version.sequence < known.sequence):
            logger.error("state was lost or replaced; users known to have opted out stay so until the next start")
        self._take({user: True for user, suppressed in everything.suppressed.items() if suppressed})
        if version.store == known.store:
            self._take((await self._store.changes(known.sequence)).suppressed)
        self._version = Version(version.store, everything.sequence, version.epoch)

    async def _changes(self, after: int, version: Version) -> Changes:
        changes = await self._store.changes(after)
        if changes.sequence < version.sequence:
            raise StateBroken(f"of {version.sequence} changes the last are missing, after {changes.sequence}")
        return changes

    def _take(self, suppressed: dict[str, bool]) -> None:
        now = {user_id for user_id, is_suppressed in suppressed.items() if is_suppressed}
        # After a restart of the store all of them come again, and a call for each would hold up every request.
        new = now - self._suppressed
        self._suppressed |= now
        self._suppressed -= suppressed.keys() - now
        if self._on_suppressed is not None:
            for user_id in new:
                self._on_suppressed(user_id)


class _Check:
    """One request to the store. ``told`` is done when it is answered, or when callers may no longer wait."""

    __slots__ = ("due", "late", "task", "told")

    def __init__(self, guard: Guard, *, before: _Check | None, patience: float) -> None:
        loop = asyncio.get_running_loop()
        self.late = False
        self.due = loop.time() + patience
        self.told: asyncio.Future[None] = loop.create_future()
        self.task = loop.create_task(guard.check(self, before))

    def tell(self) -> None:
        """Release the waiting callers."""
        if not self.told.done():
            self.told.set_result(None)
