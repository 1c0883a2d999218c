"""The promise about opt-outs as a machine that tries to break it, over real services and every fault there is here.

After an acknowledged opt-out or erasure no answer is personalised, on any path, whatever fails. Run it for long with

    python -m tests.attack.promise --minutes 30
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests import web
from tests.attack.service_processes import answer, every_path, personal, until, worker_ids
from tests.bundles import write_bundle
from tests.redis_server import OwnRedis
from tests.servers import Server, running_server
from tests.waiting import LIMIT_SECONDS

USERS = [f"u{number:05d}" for number in range(20, 26)]
CONTROL = "u00040"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
HOLD = (
    "import sqlite3, sys\n"
    "c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
    "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('BEGIN EXCLUSIVE')\n"
    "c.execute('DELETE FROM claims'); print('held', flush=True); sys.stdin.read()"
)

done: Counter[str] = Counter()
"""How often each thing was done, over all runs."""

users = st.sampled_from(USERS)
replicas = st.integers(0, 1)


class Promise(RuleBasedStateMachine):
    """What every store and any number of processes have in common."""

    workers, copies = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="promise-")))
        self.bundle = self.folder / "bundle"
        write_bundle(self.bundle)
        self.out: set[str] = set()
        self.erased: set[str] = set()
        self.stopped: set[int] = set()
        self.full: set[int] = set()
        self.servers: list[tuple[Server, ExitStack]] = []
        self.prepare()
        for number in range(self.copies):
            self.servers.append(self.start(number))
        done["runs"] += 1
        for user in USERS[:2]:
            self._acknowledge("PUT", 0, user)
        self._acknowledge("DELETE", 1, USERS[2])

    def prepare(self) -> None:
        """Bring the store up."""

    def url(self) -> str:
        """Where the state is."""
        raise NotImplementedError

    def start(self, number: int) -> tuple[Server, ExitStack]:
        """A service; it says that it is ready whatever its state is like."""
        own = ExitStack()
        given = {"DIFFCDR_STATE_URL": self.url(), "DIFFCDR_WORKERS": str(self.workers)}
        log = self.folder / f"{number}.log"
        return own.enter_context(running_server(self.bundle, log=log, **given)), own

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
                    until(lambda address=address: answer(address, CONTROL)[0] == "transfer")  # type: ignore[misc]
                    self.is_asked(number)
                done["healed"] += 1
        finally:
            for number in self.stopped:
                for pid in self.pids(number):
                    os.kill(pid, signal.SIGCONT)
            for _, own in self.servers:
                own.close()
            self.stack.close()


class SqlitePromise(Promise):
    """A file that several processes share."""

    def prepare(self) -> None:
        """Nothing yet."""
        self.state = self.folder / "state.sqlite"
        self.newest: Path | None = None
        self.older: Path | None = None
        self.holder: subprocess.Popen[str] | None = None

    def url(self) -> str:
        """The file."""
        return f"sqlite:{self.state}"

    def copied(self, name: str) -> Path:
        """A whole copy of the state as it is."""
        target = self.folder / name
        target.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.state)) as here, closing(sqlite3.connect(target)) as there:
            here.backup(there)
        return target

    def put(self, source: Path) -> None:
        """Have ``source`` be the state, nothing else of it left."""
        for part in ("-wal", "-shm"):
            Path(f"{self.state}{part}").unlink(missing_ok=True)
        shutil.copy(source, f"{self.state}.new")
        Path(f"{self.state}.new").replace(self.state)

    def whole(self) -> bool:
        """Whether there is neither fault nor lock."""
        return self.newest is None and self.holder is None

    @precondition(whole)
    @rule(how=st.sampled_from(["header", "pages", "half", "empty", "gone"]))
    def is_damaged(self, how: str) -> None:
        """The file is replaced by a damaged one."""
        done[f"damage: {how}"] += 1
        self.newest = self.copied("newest.sqlite")
        broken = self.copied("broken.sqlite")
        size = broken.stat().st_size
        if how == "header":
            broken.write_bytes(b"no database at all" + broken.read_bytes()[18:])
        elif how == "pages":
            broken.write_bytes(broken.read_bytes()[:4096] + bytes(range(256)) * ((size - 4096) // 256))
        else:
            os.truncate(broken, size // 2 if how == "half" else 0)
        if how == "gone":
            for part in ("", "-wal", "-shm"):
                Path(f"{self.state}{part}").unlink(missing_ok=True)
        else:
            self.put(broken)

    @precondition(whole)
    @rule()
    def is_kept(self) -> None:
        """A backup, for later."""
        self.older = self.copied("older.sqlite")

    @precondition(lambda self: self.whole() and self.older is not None)
    @rule()
    def is_rolled_back(self) -> None:
        """The backup takes the place of what is newer."""
        done["roll back"] += 1
        self.newest = self.copied("newest.sqlite")
        assert self.older is not None
        self.put(self.older)

    @precondition(lambda self: self.newest is not None)
    @rule()
    def is_repaired(self) -> None:
        """The newest copy is put back."""
        assert self.newest is not None
        # A backup that lacks nothing was a good state to go on with, and may have been written to.
        with closing(sqlite3.connect(self.newest)) as newest:
            known = newest.execute("SELECT MAX(sequence) FROM people").fetchone()[0] or 0
        try:
            with closing(sqlite3.connect(self.state, timeout=1)) as there:
                held = there.execute("SELECT MAX(sequence) FROM people").fetchone()[0] or 0
        except sqlite3.Error:
            held = 0
        if held < known or held == 0:
            self.put(self.newest)
        self.newest = None

    @precondition(whole)
    @rule()
    def is_locked(self) -> None:
        """By a foreign process, for itself alone, as soon as nobody else has the file."""
        done["lock"] += 1
        self.holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @precondition(lambda self: self.holder is not None)
    @rule()
    def is_unlocked(self) -> None:
        """The foreign process goes away."""
        assert self.holder is not None
        self.holder.communicate("")
        self.holder = None

    leapt = False

    @precondition(lambda self: self.whole() and not self.leapt)
    @rule()
    def clock_leaps(self) -> None:
        """What the state last saw of the clock is 91 days ago."""
        self.leapt = True
        done["clock"] += 1
        with closing(sqlite3.connect(self.state, timeout=LIMIT_SECONDS)) as connection, connection:
            connection.execute("UPDATE clock SET seen = seen - 91 * 86400")

    @rule(number=replicas)
    def disk_fills(self, number: int) -> None:
        """No file of the processes may grow."""
        number %= self.copies
        if number in self.stopped:
            return
        done["disk full"] += 1
        self.full.add(number)
        for pid in self.pids(number):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    @rule()
    def disk_has_room(self) -> None:
        """Again."""
        for number in self.full - self.stopped:
            for pid in self.pids(number):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.full &= self.stopped

    def heal(self) -> None:
        """As above."""
        super().heal()
        self.disk_has_room()
        if self.holder is not None:
            self.is_unlocked()
        if self.newest is not None:
            self.is_repaired()

    def teardown(self) -> None:
        """As above."""
        try:
            super().teardown()
        finally:
            if self.holder is not None:
                self.holder.kill()
                self.holder.wait()


class RedisPromise(Promise):
    """A Redis that all share."""

    def prepare(self) -> None:
        """An own one."""
        place = self.folder / "redis"
        place.mkdir()
        self.redis = OwnRedis(place)
        self.redis.start(*DURABLE)
        self.pause: Any = None
        self.kept: dict[bytes, bytes] | None = None

    def url(self) -> str:
        """Its socket."""
        return self.redis.url

    def client(self) -> redis.Redis:
        """Of it."""
        return redis.Redis.from_url(self.redis.url)

    def runs(self) -> bool:
        """Whether it answers."""
        return self.pause is None

    @precondition(runs)
    @rule()
    def redis_is_killed(self) -> None:
        """And started again with what it synced."""
        done["kill Redis"] += 1
        with self.redis.killed():
            for number in range(self.copies):
                self.is_asked(number)

    @precondition(runs)
    @rule()
    def redis_stands_still(self) -> None:
        """Connections stay open, nothing is answered."""
        done["pause Redis"] += 1
        self.pause = self.redis.paused()
        self.pause.__enter__()

    @precondition(lambda self: self.pause is not None)
    @rule()
    def redis_goes_on(self) -> None:
        """Again."""
        self.pause.__exit__(None, None, None)
        self.pause = None

    @precondition(runs)
    @rule(most=st.sampled_from([1, 0]))
    def redis_fills(self, most: int) -> None:
        """No room, or room again."""
        done["Redis full"] += 1
        with self.client() as client:
            client.config_set("maxmemory", most)

    @precondition(runs)
    @rule()
    def redis_is_kept(self) -> None:
        """A copy, for later."""
        with self.client() as client:
            self.kept = {key: client.dump(key) or b"" for key in client.scan_iter()}

    @precondition(lambda self: self.pause is None and self.kept is not None)
    @rule()
    def redis_is_rolled_back(self) -> None:
        """It starts again with the copy. Replicas that live and saw what is lost must keep to it."""
        if self.stopped:
            return
        done["roll Redis back"] += 1
        for number in range(self.copies):
            self.is_asked(number)
            answer(self.server(number).address, CONTROL)
        assert self.kept is not None
        with self.redis.killed():
            pass
        with self.client() as client:
            client.flushall()
            for key, content in self.kept.items():
                client.restore(key, 0, content)
        self.rolled_back = True

    rolled_back = False

    @rule(number=replicas)
    def is_killed(self, number: int) -> None:
        """After a roll back, what a replica alone knew dies with it: no store promises that."""
        if not self.rolled_back:
            Promise.is_killed(self, number)

    def heal(self) -> None:
        """As above."""
        super().heal()
        if self.pause is not None:
            self.redis_goes_on()
        with self.client() as client:
            client.config_set("maxmemory", 0)

    def teardown(self) -> None:
        """As above."""
        try:
            super().teardown()
        finally:
            if self.pause is not None:
                self.pause.__exit__(None, None, None)
            self.redis.kill()


def machine(store: type[Promise], *, workers: int = 1, copies: int = 1) -> type[Promise]:
    """A machine of so many processes."""
    return type(f"{store.__name__}{workers}x{copies}", (store,), {"workers": workers, "copies": copies})


MACHINES = {
    "sqlite, one process": machine(SqlitePromise),
    "sqlite, two workers": machine(SqlitePromise, workers=2),
    "sqlite, two replicas": machine(SqlitePromise, copies=2),
    "redis, one process": machine(RedisPromise),
    "redis, two workers": machine(RedisPromise, workers=2),
    "redis, two replicas": machine(RedisPromise, copies=2),
}


def check(kind: type[Promise], *, examples: int, steps: int) -> None:
    """Let ``kind`` try so often. Raises AssertionError with what it did, once the promise is broken."""
    tried = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(kind, settings=tried)


def main() -> None:
    """For so many minutes, one kind after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    ends = time.monotonic() + 60 * parser.parse_args().minutes
    while time.monotonic() < ends:
        for name, kind in MACHINES.items():
            if time.monotonic() < ends:
                check(kind, examples=5, steps=40)
                print(name, dict(sorted(done.items())), flush=True)


if __name__ == "__main__":
    main()
