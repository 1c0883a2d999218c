"""The longest a stop may take: a process that is told to stop ends then, whatever is still open."""

from __future__ import annotations

import logging
import os
import threading

from service.settings import Settings

logger = logging.getLogger(__name__)

PARENT_SECONDS = 1.0
"""How much longer the parent of several workers waits for them, and then for itself."""
TELL_SECONDS = 1.0
"""How long the last log line may take: the log may be what the process hangs on."""
STATUS = 1
"""Exit status of a process that had to be ended."""


def finish_seconds(settings: Settings) -> int:
    """How long requests in flight may take to finish, in the whole seconds that uvicorn counts."""
    return max(1, round(settings.finish_seconds))


def stop_seconds(settings: Settings) -> float:
    """The longest time in seconds between the first signal to stop and the end of the process that serves."""
    return settings.drain_seconds + finish_seconds(settings) + settings.close_seconds


class StopLimit:
    """Ends the process ``seconds`` after :meth:`begin`, unless it has ended by itself before.

    Something that never closes (a connection that an event loop waits for, a thread that the interpreter waits for)
    would otherwise keep a process that answers nobody.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds`` are counted from the first call of :meth:`begin`."""
        self._seconds = seconds
        self._begun = False

    def begin(self) -> None:
        """Start to count; later calls do nothing. May be called by a signal handler."""
        if self._begun:
            return
        self._begun = True
        timer = threading.Timer(self._seconds, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        teller = threading.Thread(target=self._tell, args=(_waited_for(),), daemon=True)
        teller.start()
        teller.join(TELL_SECONDS)
        os._exit(STATUS)

    def _tell(self, open_threads: list[str]) -> None:
        logger.error(
            "the process has not stopped within %g s of being told to, so it ends now with what is still open "
            "(threads: %s); what was acknowledged is stored",
            self._seconds,
            ", ".join(open_threads),
        )


def _waited_for() -> list[str]:
    """Names of the threads that the interpreter waits for before it ends, the main thread included."""
    return [thread.name for thread in threading.enumerate() if not thread.daemon]
