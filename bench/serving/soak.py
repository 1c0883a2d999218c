"""Bench ``soak``: mixed load on a service for a long time; its memory may not grow, nor its answers surprise.

One real ``diffcdr serve``, asked everything of :mod:`bench.serving.mixture` at an even, moderate rate by a few callers
with connections that stay open, while another bundle is loaded and activated now and then. Memory is what the kernel
says is resident, read twice a second.
"""

from __future__ import annotations

import http.client
import itertools
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Row, Size, limit_row
from bench.serving.mixture import Population, Question, questions
from bench.serving.processes import Served, serving
from diffcdr.errors import DiffCDRError

NAME = "soak"
MINUTES: dict[Size, float] = {"full": 20.0, "short": 2.0}
RATE = 50.0
"""Requests a second: moderate on one core, so that what is measured is not overload."""
CALLERS = 8
RELOADS = 12
BUNDLES = 5
"""One more than a service holds at once, so that each load lets one go."""
SAMPLE_SECONDS = 0.5
IDLE_SECONDS = 2.0
"""A connection that was not used for so long is opened anew, as the service closes those idle for 5 s."""
GROWTH = 1.05
"""How much more memory there may be at the end than once the first tenth has passed; a scoring block alone is 4 MB."""
SETTLED_MINUTES = 20.0
SETTLING_GROWTH = 1.2
"""The same of a shorter soak, whose first tenths are over before caches are full and the allocator is at rest."""
POPULATION = Population(users=20_000, source_items=500, target_items=5_000)


@dataclass
class Tally:
    """What came back: how many of each kind of question and status, and whether it was right."""

    right: int = 0
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, question: Question, came: int | Exception) -> None:
        """Note one answer's status, or how the connection broke before the answer was whole."""
        if isinstance(came, int) and came in question.expected:
            self.right += 1
        else:
            self.wrong[question.kind, str(came) if isinstance(came, int) else type(came).__name__] += 1

    def __str__(self) -> str:
        return ", ".join(f"{kind}: {count} x {came}" for (kind, came), count in self.wrong.items())


def bench(size: Size) -> Iterator[Row]:
    """Twenty minutes; two in the short form."""
    return soak(MINUTES[size])


def soak(minutes: float, *, rate: float = RATE) -> Iterator[Row]:
    """Rows of a load of ``rate`` requests a second for ``minutes``: answers as expected, and memory.

    Raises:
        DiffCDRError: an answer had a status that its question does not allow; the message names each.
    """
    seconds = 60.0 * minutes
    with tempfile.TemporaryDirectory() as folder:
        names = _write_bundles(Path(folder))
        # A machine that other work keeps busy answers late, and that is not what is asked here.
        settings = {"DIFFCDR_BUNDLE_ROOT": folder, "DIFFCDR_TIMEOUT_MS": "30000"}
        with serving(Path(folder) / names[0], core=None, **settings) as served:
            # A service that has been running for a while holds as many bundles as it may.
            for name in names[1:]:
                _reload(served, name)
            tally, memory = _run(served, names, seconds=seconds, rate=rate)
    if tally.wrong:
        raise DiffCDRError(
            f"{tally.wrong.total():,} answers were not as expected: {tally}; this is a defect, report it"
        )
    yield Row(NAME, "answered as expected", tally.right, tally.right, 1.0, 1.0, "requests")
    yield memory_row(memory, minutes=minutes)


def memory_row(samples: Sequence[float], *, minutes: float) -> Row:
    """The least of the last tenth of ``samples`` (MB, evenly spaced, at least 20) held to the least of the second.

    Whether what a batch has used is resident afterwards depends on where in the heap it lay, for minutes, and says
    nothing of growth; what is there when all else was given back does.
    """
    tenth = max(1, len(samples) // 10)
    early, late = min(samples[tenth : 2 * tenth]), min(samples[-tenth:])
    growth = GROWTH if minutes >= SETTLED_MINUTES else SETTLING_GROWTH
    limit = growth * early
    case = f"memory after {minutes:g} min, against {100 * (growth - 1):.0f} % growth"
    return limit_row(NAME, case, figure=late, limit=limit, unit="MB", floor=1.0)


def _write_bundles(root: Path) -> list[str]:
    names = [f"bundle-{number}" for number in range(BUNDLES)]
    for number, name in enumerate(names):
        write_drawn_bundle(
            root / name,
            users=POPULATION.users,
            items=POPULATION.target_items - number,
            source_items=POPULATION.source_items,
        )
    return names


def _run(served: Served, names: Sequence[str], *, seconds: float, rate: float) -> tuple[Tally, list[float]]:
    """Ask and measure for ``seconds``: the tally of all callers, and resident MB, sample by sample."""
    load = Load(served.port, questions(POPULATION, seed=0), rate=rate, seconds=seconds)
    callers = [threading.Thread(target=load.call, name=f"caller {number}") for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    memory: list[float] = []
    reloads = itertools.count()
    try:
        begun, next_reload = time.monotonic(), seconds / RELOADS
        while (passed := time.monotonic() - begun) < seconds:
            if passed >= next_reload:
                _reload(served, names[next(reloads) % len(names)])
                next_reload += seconds / RELOADS
            memory.append(served.resident_mb())
            time.sleep(SAMPLE_SECONDS)
    finally:
        load.stop()
        for caller in callers:
            caller.join()
    return load.tally, memory


def _reload(served: Served, name: str) -> None:
    served.ask("POST", "/v1/admin/models/load", json.dumps({"path": name, "activate": True}).encode())


class Load:
    """Questions at an even rate, shared by the callers; nobody makes up for what was late."""

    def __init__(self, port: int, asked: Iterator[Question], *, rate: float, seconds: float) -> None:
        self.tally = Tally()
        self._port = port
        self._asked = asked
        self._interval = 1.0 / rate
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self._end = self._due + seconds

    def stop(self) -> None:
        """Ask nothing any more."""
        self._end = -1.0

    def call(self) -> None:
        """One caller's thread: ask when it is time, until the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60.0)
        used = time.monotonic()
        while (question := self._next()) is not None:
            if time.monotonic() - used > IDLE_SECONDS:
                connection.close()
            came = self._leave(question) if question.leaves else ask(connection, question)
            with self._lock:
                self.tally.add(question, came)
            if not question.leaves:
                used = time.monotonic()
        connection.close()

    def _next(self) -> Question | None:
        with self._lock:
            self._due = max(self._due + self._interval, time.monotonic() - self._interval)
            due, question = self._due, next(self._asked, None)
        time.sleep(max(0.0, due - time.monotonic()))
        return question if time.monotonic() < self._end else None

    def _leave(self, question: Question) -> int | Exception:
        """Ask on a connection of its own, and close that once the first bytes of the answer are there."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60.0)) as connection:
            try:
                _send(connection, question)
                answer = connection.getresponse()
                answer.read1(1)
            except (OSError, http.client.HTTPException) as error:
                return error
            return answer.status


def ask(connection: http.client.HTTPConnection, question: Question) -> int | Exception:
    """The status of the answer, read to its end, or how it broke off."""
    try:
        _send(connection, question)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return error
    return answer.status


def _send(connection: http.client.HTTPConnection, question: Question) -> None:
    headers = {"Content-Type": question.content_type} if question.body else {}
    if question.key is not None:
        headers["Idempotency-Key"] = question.key
    connection.request(question.method, question.path, question.body or None, headers)
