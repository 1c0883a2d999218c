"""The promise about opt-outs as a machine that tries to break it: what all stores and numbers of processes share."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx2 as httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests import web
from tests.attack.service_processes import NOT_YET, answer, every_path, personal, worker_ids
from tests.bundles import write_bundle
from tests.servers import Server, running_server
from tests.waiting import until

USERS = [f"u{number:05d}" for number in range(20, 26)]
CONTROL = "u00040"

done: Counter[str] = Counter()
"""How often each thing was done, over all runs."""

users = st.sampled_from(USERS)
replicas = st.integers(0, 1)


class Promise(RuleBasedStateMachine):
    """What every store and any number of processes have in common."""

    workers, copies = 1, 1
    url: str
    """Where the state is: each store brings one up as it is made, before the first service starts."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="promise-")))
        self.served = self.folder / "bundle"
        write_bundle(self.served)
        self.out: set[str] = set()
        self.erased: set[str] = set()
        self.stopped: set[int] = set()
        self.full: set[int] = set()
        self.servers: list[tuple[Server, ExitStack]] = []

    @initialize()
    def begins(self) -> None:
        """Services start, and some people are protected from the first step on."""
        for number in range(self.copies):
            self.servers.append(self.start(number))
        done["runs"] += 1
        for user in USERS[:2]:
            self._acknowledge("PUT", 0, user)
        self._acknowledge("DELETE", 1, USERS[2])

    def start(self, number: int) -> tuple[Server, ExitStack]:
        """A service; it says that it is ready whatever its state is like."""
        own = ExitStack()
        given = {"DIFFCDR_STATE_URL": self.url, "DIFFCDR_WORKERS": str(self.workers)}
        log = self.folder / f"{number}.log"
        return own.enter_context(running_server(self.served, log=log, **given)), own

    def server(self, number: int) -> Server:
        """Replica ``number``, or another where there are fewer."""
        return self.servers[number % self.copies][0]

    def awake(self, number: int) -> bool:
        """Whether it can answer."""
        return number % self.copies not in self.stopped

    def pids(self, number: int) -> list[int]:
        """What answers for replica ``number``."""
        parent = self.server(number).process.pid
        return worker_ids(parent) if self.workers > 1 else [parent]

    def send(self, method: str, number: int, path: str) -> int:
        """The status of a write; 0 where none came."""
        try:
            return web.request(method, f"{self.server(number).address}{path}").status_code
        except httpx.TransportError:
            return 0

    def _acknowledge(self, method: str, number: int, user: str) -> None:
        if not self.awake(number):
            return
        path = f"/v1/users/{user}/opt-out" if method == "PUT" else f"/v1/users/{user}"
        if self.send(method, number, path) in (202, 204):
            done["acknowledged"] += 1
            (self.out if method == "PUT" else self.erased).add(user)

    @rule(user=users, number=replicas)
    def opts_out(self, user: str, number: int) -> None:
        """Only what was acknowledged is promised."""
        self._acknowledge("PUT", number, user)

    @rule(user=users, number=replicas)
    def is_erased(self, user: str, number: int) -> None:
        """For ever."""
        self._acknowledge("DELETE", number, user)

    @invariant()
    def nobody_protected_is_personalised(self) -> None:
        """After every step, at every replica that can answer."""
        for number in set(range(self.copies)) - self.stopped:
            for user in sorted(self.out | self.erased):
                try:
                    said = answer(self.server(number).address, user)[0]
                except (httpx.TransportError, AssertionError):
                    continue  # a worker that was killed took its connection along, or the disk is full
                done["answers"] += 1
                assert said == "popular", (user, number, said)

    @rule(user=users, number=replicas)
    def opts_in(self, user: str, number: int) -> None:
        """Whatever is answered, it may have been done."""
        if self.awake(number):
            self.out.discard(user)
            self.send("DELETE", number, f"/v1/users/{user}/opt-out")

    @rule(number=replicas)
    def is_asked(self, number: int) -> None:
        """By every path, of everybody who must not be personalised, several times where several workers answer."""
        if not self.awake(number):
            return
        for user in sorted(self.out | self.erased):
            for _ in range(self.workers):
                try:
                    with web.client(base_url=self.server(number).address) as client:
                        said = every_path(client, user)
                except httpx.TransportError:  # a worker that was killed took its connection along
                    continue
                done["answers"] += len(said)
                assert personal(said) == [], (user, number, said)

    @rule(number=replicas)
    def is_killed(self, number: int) -> None:
        """One worker, which the parent replaces, or the replica, which is started again."""
        done["kill"] += 1
        number %= self.copies
        if self.workers > 1:
            if number not in self.stopped and (found := self.pids(number)):
                os.kill(found[0], signal.SIGKILL)
            return
        self.stopped.discard(number)
        self.full.discard(number)
        server, own = self.servers[number]
        server.process.kill()
        own.close()
        self.servers[number] = self.start(number)

    @rule(number=replicas)
    def stands_still(self, number: int) -> None:
        """One replica, others go on."""
        number %= self.copies
        if self.copies > 1 and not self.stopped:
            done["pause a replica"] += 1
            self.stopped.add(number)
            for pid in self.pids(number):
                os.kill(pid, signal.SIGSTOP)

    @rule()
    def goes_on(self) -> None:
        """Whoever stood still."""
        for number in self.stopped:
            for pid in self.pids(number):
                os.kill(pid, signal.SIGCONT)
        self.stopped.clear()

    def _personalised(self, address: str) -> bool:
        return answer(address, CONTROL)[0] == "transfer"

    def heal(self) -> None:
        """Take every fault back."""
        self.goes_on()

    def teardown(self) -> None:
        """Once all is well again, those who did not opt out are personalised, and the others still are not."""
        try:
            if len(self.servers) == self.copies and sys.exc_info()[0] is None:
                self.heal()
                for number in range(self.copies):
                    address = self.server(number).address
                    until(partial(self._personalised, address), while_raising=NOT_YET)
                    self.is_asked(number)
                done["healed"] += 1
        finally:
            for number in self.stopped:
                for pid in self.pids(number):
                    os.kill(pid, signal.SIGCONT)
            for _, own in self.servers:
                own.close()
            self.stack.close()
