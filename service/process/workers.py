"""Several worker processes on one socket: started, watched, replaced when they die, and drained together.

The parent serves nothing: it makes the socket and the folder that workers share, and then only waits for signals and
for what workers say. So it may fork at any time, and what it has imported is in memory once. Tables are memory-mapped:
one copy serves all.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from diffcdr.errors import DiffCDRError

logger = logging.getLogger(__name__)

HANGUP = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
"""A terminal that went away stops the service as SIGTERM does; under ``nohup`` it does not."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, *HANGUP)
SIGNALS = (*STOP_SIGNALS, signal.SIGCHLD)
HEALTHY_SECONDS = 5.0
"""A worker that lived this long is replaced at once; another after a while that doubles."""
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0

Run = Callable[[int, Callable[[], None]], None]
"""Serve as worker number so and so until told to stop; call the function when ready."""


@dataclass(slots=True)
class _Worker:
    index: int
    report: int
    """Read end of a pipe: what the worker has to say of its start."""
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    said: str = ""

    def listen(self) -> None:
        """Read what the worker has reported since the last call."""
        self.said += _read(self.report).decode()
        if not self.ready and self.said.startswith("ready\n"):
            self.ready = True
            self.said = ""


class Supervisor:
    """Keeps ``count`` workers alive. Make it in a process without threads, and call :meth:`serve` once."""

    def __init__(
        self,
        count: int,
        run: Run,
        *,
        on_ready: Callable[[], None],
        on_death: Callable[[int], None],
        on_empty: Callable[[], None],
        on_stop: Callable[[], None],
        stop_seconds: float = math.inf,
    ) -> None:
        """What to do.

        Args:
            count: workers to keep.
            run: what each of them does.
            on_ready: called once, when all of them are ready for the first time.
            on_death: called with the number of a worker that died.
            on_empty: called when none is left that ever was ready, before others are started.
            on_stop: called once, when the workers are told to stop; none is started afterwards.
            stop_seconds: how long they may take to stop; those that are left then are killed.
        """
        self._count = count
        self._run = run
        self._on_ready = on_ready
        self._on_death = on_death
        self._on_empty = on_empty
        self._on_stop = on_stop
        self._stop_seconds = stop_seconds
        self._kill_at = math.inf
        self._killed = 0
        self._workers: dict[int, _Worker] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._failures = [0] * count
        self._serving = self._stopping = False
        self._life = os.pipe()

    def serve(self) -> None:
        """Run until SIGTERM or SIGINT; every signal is passed on to the workers.

        Raises:
            DiffCDRError: a worker could not start, and the service never served; with that worker's exit code. Or
                workers had to be killed, as they did not stop in time.
        """
        with signals_to_read() as told:
            # Collecting would write to every page that the workers share with this process.
            gc.freeze()
            try:
                while self._workers or not self._stopping:
                    self._start_due()
                    self._wait(told)
                    for number in _read(told):
                        if number in STOP_SIGNALS:
                            self._stop(number)
                    self._listen()
                    self._bury()
                    if time.monotonic() >= self._kill_at:
                        self._kill()
            finally:
                self._signal(signal.SIGKILL)
                for pid in self._workers:
                    os.waitpid(pid, 0)
                os.close(self._life[1])
                os.close(self._life[0])
                gc.unfreeze()
        if self._killed:
            raise DiffCDRError(f"{self._killed} workers did not stop in time and were killed; the log says which")

    def _wait(self, told: int) -> None:
        """Until there is a signal, a worker that begins has something to say, or another one is due."""
        reports = [worker.report for worker in self._workers.values() if not worker.ready]
        due = self._kill_at if self._stopping else min(self._due.values(), default=math.inf)
        patience = None if due == math.inf else max(0.0, due - time.monotonic())
        select.select([told, *reports], [], [], patience)

    def _stop(self, number: int) -> None:
        if not self._stopping:
            self._kill_at = time.monotonic() + self._stop_seconds
            self._on_stop()
        self._stopping = True
        self._signal(number)

    def _kill(self) -> None:
        """End the workers that have not stopped in time; a suspended one, too."""
        for pid, worker in self._workers.items():
            logger.error(
                "worker %d (process %d) has not stopped within %g s of being told to, and is killed",
                worker.index,
                pid,
                self._stop_seconds,
            )
        self._signal(signal.SIGKILL)
        self._kill_at = math.inf
        self._killed = len(self._workers)

    def _start_due(self) -> None:
        if self._stopping:
            return
        now = time.monotonic()
        for index in [index for index, at in self._due.items() if at <= now]:
            del self._due[index]
            read, write = os.pipe()
            # Until the new process is one of its own, a signal to it must wait: it would be taken for the parent's.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            pid = os.fork()
            if pid == 0:
                os.close(read)
                self._be_worker(index, write)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(write)
            os.set_blocking(read, False)
            self._workers[pid] = _Worker(index, read)

    def _be_worker(self, index: int, report: int) -> None:
        """In the new process; does not return."""
        status = 1
        try:
            # A group of its own: Ctrl-C reaches the parent only, which hands it on.
            os.setpgid(0, 0)
            os.close(self._life[1])
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            threading.Thread(target=_stop_with_parent, args=(self._life[0],), daemon=True).start()
            self._run(index, lambda: _say(report, "ready\n"))
            status = 0
        except DiffCDRError as error:
            _say(report, str(error))
            status = error.exit_code
        except BaseException:
            logger.exception("worker %d failed", index)
        finally:
            logging.shutdown()
            os._exit(status)

    def _listen(self) -> None:
        for worker in self._workers.values():
            worker.listen()
        if not self._serving and len(self._workers) == self._count and all(w.ready for w in self._workers.values()):
            self._serving = True
            self._on_ready()

    def _bury(self) -> None:
        for pid in list(self._workers):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                worker = self._workers.pop(pid)
                # Whoever died just now may have said why since it was last listened to.
                worker.listen()
                os.close(worker.report)
                self._on_death(worker.index)
                if not self._stopping:
                    self._mourn(worker, os.waitstatus_to_exitcode(status))

    def _mourn(self, worker: _Worker, status: int) -> None:
        """Say that ``worker`` is dead, and plan for another in its place."""
        reason = worker.said or f"ended with status {status}"
        if not self._serving:
            error = DiffCDRError(worker.said or f"worker {worker.index} {reason} before it was ready; see the log")
            error.exit_code = max(status, 1)
            raise error
        lived = time.monotonic() - worker.started
        healthy = worker.ready and lived >= HEALTHY_SECONDS
        self._failures[worker.index] = 0 if healthy else self._failures[worker.index] + 1
        doublings = self._failures[worker.index] - 1
        delay = 0.0 if healthy else min(FIRST_DELAY_SECONDS * 2**doublings, LONGEST_DELAY_SECONDS)
        logger.error("worker %d: %s; another starts in %.1f s", worker.index, reason, delay)
        self._due[worker.index] = time.monotonic() + delay
        if not any(other.ready for other in self._workers.values()):
            self._on_empty()

    def _signal(self, number: int) -> None:
        for pid in self._workers:
            os.kill(pid, number)


@contextmanager
def signals_to_read() -> Iterator[int]:
    """A file descriptor that yields the numbers of arriving ``SIGNALS``, one byte each. For the main thread.

    It can be waited for together with others, and on every POSIX system.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    waker = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _note) for number in SIGNALS}
    # Whoever started this process may have left them blocked.
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield read
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(waker)
        os.close(write)
        os.close(read)


def _note(number: int, frame: FrameType | None) -> None:
    """Nothing: that there is a handler has the number written."""


def _read(pipe: int) -> bytes:
    """What is there now of a pipe that does not block."""
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


def _say(pipe: int, text: str) -> None:
    os.write(pipe, text.encode())


def _stop_with_parent(life: int) -> None:
    """On a thread of a worker: nothing is ever written to ``life``, so reading it ends when the parent does."""
    os.read(life, 1)
    os.kill(os.getpid(), signal.SIGTERM)
