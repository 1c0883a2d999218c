"""Work and recordings keep apart, whoever comes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from diffcdr.device.sessions import Gate
from tests.waiting import LIMIT_SECONDS


def test_many_work_at_a_time_and_one_records_alone() -> None:
    gate, together = Gate(), threading.Barrier(3, timeout=LIMIT_SECONDS)
    inside: set[str] = set()
    seen: list[set[str]] = []

    def work(name: str) -> None:
        with gate.working():
            inside.add(name)
            together.wait()  # passes only where both are inside
            together.wait()
            inside.discard(name)

    def record() -> None:
        with gate.recording():
            seen.append(set(inside))

    with ThreadPoolExecutor(6) as pool:
        for _ in range(20):
            started = [pool.submit(work, name) for name in "ab"]
            together.wait()
            started += [pool.submit(record) for _ in range(3)]
            together.wait()
            for done in started:
                done.result()
    assert seen == [set()] * 60


def test_what_fails_lets_the_others_in() -> None:
    gate = Gate()
    for kind in (gate.working, gate.recording, gate.recording, gate.working):
        try:
            with kind():
                raise ValueError
        except ValueError:
            pass
    with gate.recording():
        pass
