"""The promise over a SQLite file and over a Redis, each with every fault there is here."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.attack.promise_machine import CONTROL, Promise, done, replicas
from tests.attack.service_processes import answer
from tests.redis_server import OwnRedis

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
HOLD = (
    "import sqlite3, sys\n"
    "c = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)\n"
    "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('BEGIN EXCLUSIVE')\n"
    "c.execute('DELETE FROM claims'); print('held', flush=True); sys.stdin.read()"
)


class SqlitePromise(Promise):
    """A file that several processes share."""

    def __init__(self) -> None:
        super().__init__()
        self.state = self.folder / "state.sqlite"
        self.url = f"sqlite:{self.state}"
        self.newest: Path | None = None
        self.older: Path | None = None
        self.holder: subprocess.Popen[str] | None = None

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
        with closing(sqlite3.connect(self.state, timeout=10)) as connection, connection:
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

    def __init__(self) -> None:
        super().__init__()
        place = self.folder / "redis"
        place.mkdir()
        self.redis = OwnRedis(place)
        self.redis.start(*DURABLE)
        self.url = self.redis.url
        self.pause: Any = None
        self.kept: dict[bytes, bytes] | None = None

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
