"""A SQLite state that is damaged, locked, gone, emptied or rolled back: nobody who opted out is personalised."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests import web
from tests.attack.service_processes import (
    NOT_YET,
    answer,
    answers,
    every_path,
    personal,
    state_of,
    worker_ids,
)
from tests.bundles import write_bundle
from tests.servers import ENVIRONMENT, running_server
from tests.waiting import until

OUT, GONE, OTHER = "u00100", "u00101", "u00102"
DENIED = ("popular", "state_unavailable")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundles" / "planted"
    write_bundle(path, users=300)
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle and its default state, in which ``OUT`` opted out and ``GONE`` was erased."""
    folder = tmp_path_factory.mktemp("told") / "bundles"
    write_bundle(folder / "planted", users=300)
    with running_server(folder / "planted", log=folder.with_name("log")) as server:
        for user in ("a", "b", "c", OUT):
            assert web.put(f"{server.address}/v1/users/{user}/opt-out").status_code == 204
        assert web.delete(f"{server.address}/v1/users/{GONE}").status_code == 202
        server.stop()
    return folder


@pytest.fixture
def state(told: Path, bundle: Path) -> Path:
    """The default state of ``bundle``, told as above, and nobody has it open."""
    shutil.rmtree(bundle.parent)
    shutil.copytree(told, bundle.parent)
    path = bundle.with_name("planted.state.sqlite")
    assert path.exists()
    return path


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def damage_pages(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(bytes(range(256)) * 16)


def delete(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}*"):
        part.unlink()


def roll_back(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM people WHERE sequence > 2")


def garble_sequence(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE people SET sequence = 'x' || sequence")


def replace_by_another(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE identity SET store = 'another'")


FAULTS: list[Callable[[Path], None]] = [
    damage_header,
    truncate,
    empty,
    damage_pages,
    delete,
    roll_back,
    garble_sequence,
    replace_by_another,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_that_was_there_and_cannot_be_used_personalises_nobody(
    bundle: Path, state: Path, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    good = tmp_path / "good.sqlite"
    shutil.copy(state, good)
    fault(state)
    with running_server(bundle, log=tmp_path / "log") as server:
        for user in (OUT, GONE, OTHER):
            assert answer(server.address, user) == DENIED
        with web.client(base_url=server.address) as client:
            assert personal(every_path(client, OUT)) == []
            refused = client.put(f"/v1/users/{OTHER}/opt-out")
            assert (refused.status_code, refused.json()["code"]) == (503, "state_unavailable")
        assert state_of(server.address) == ("degraded", 0.0)
        assert "planted.state.sqlite" in server.log.read_text()
        # What is put right is taken up, without a restart.
        delete(state)
        shutil.copy(good, state)
        until(lambda: answer(server.address, OTHER) == ("transfer", None), while_raising=NOT_YET)
        assert answer(server.address, OUT) == answer(server.address, GONE) == ("popular", "opted_out")
        assert state_of(server.address)[0] == "ok"
        assert server.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("fault", [damage_header, delete, roll_back])
def test_what_happens_to_the_file_while_it_is_open_is_noticed(
    bundle: Path, state: Path, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    broken = tmp_path / "broken.sqlite"
    shutil.copy(state, broken)
    with running_server(bundle, log=tmp_path / "log") as server:
        assert answer(server.address, OTHER) == ("transfer", None)
        if fault is delete:
            delete(state)
        else:
            fault(broken)
            broken.rename(state)
        assert answer(server.address, OTHER) == answer(server.address, OUT) == DENIED
        refused = web.put(f"{server.address}/v1/users/{OTHER}/opt-out")
        assert refused.status_code == 503, "nothing may be acknowledged that is in no file"
        assert state_of(server.address)[0] == "degraded"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A foreign process has the whole database for itself, readers included."""
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('BEGIN EXCLUSIVE')\n"
        "c.execute('DELETE FROM claims'); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate("")


def test_a_lock_that_lasts_personalises_nobody_and_is_waited_out(bundle: Path, state: Path, tmp_path: Path) -> None:
    hurried = {"DIFFCDR_STATE_PATIENCE_MS": "250"}
    with locked(state), running_server(bundle, log=tmp_path / "log", **hurried) as server:
        assert answer(server.address, OUT) == answer(server.address, OTHER) == DENIED
        assert state_of(server.address) == ("degraded", 0.0)
    with running_server(bundle, log=tmp_path / "log") as server:
        address = server.address
        with locked_after_all(state):
            pass
        until(lambda: answer(address, OTHER) == ("transfer", None), while_raising=NOT_YET)
        assert answer(address, OUT) == ("popular", "opted_out")


@contextmanager
def locked_after_all(path: Path) -> Iterator[None]:
    """A writer holds the write lock for some time: readers go on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.attack
def test_a_worker_that_starts_while_the_state_is_locked_personalises_nobody(
    bundle: Path, state: Path, tmp_path: Path
) -> None:
    with running_server(bundle, log=tmp_path / "log", DIFFCDR_WORKERS="2") as server:
        until(lambda: len(worker_ids(server.process.pid)) == 2, while_raising=NOT_YET)
        # Both stop, so that a foreign process can take the whole file.
        workers = worker_ids(server.process.pid)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        with locked(state):
            until(lambda: bool(set(worker_ids(server.process.pid)) - set(workers)), while_raising=NOT_YET)
            until(lambda: answer(server.address, OTHER) == DENIED, while_raising=NOT_YET)
            assert answers(server.address, OUT, 60) == {DENIED}
        until(lambda: answers(server.address, OTHER) == {("transfer", None)}, while_raising=NOT_YET)
        assert answers(server.address, OUT, 60) == {("popular", "opted_out")}


def test_many_processes_open_a_new_state_at_once(tmp_path: Path) -> None:
    """Sixty first openings by four processes each, and one store in each of them."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from service.state.opening import open_store\n"
        "async def main():\n"
        "    for number in range(60):\n"
        "        sys.stdin.readline()\n"
        "        store = open_store(f'sqlite:{sys.argv[1]}/{number}.sqlite', bundle=Path('x'))\n"
        "        version = await store.version()\n"
        "        await store.set_opt_out(sys.argv[2], True)\n"
        "        await store.close()\n"
        "        print(version.store, flush=True)\n"
        "asyncio.run(main())\n"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        for number in range(4)
    ]
    for number in range(60):
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write("go\n")
            opener.stdin.flush()
        said = {opener.stdout.readline().strip() for opener in openers if opener.stdout is not None}
        assert len(said) == 1 and "" not in said, (number, said)
        with closing(sqlite3.connect(tmp_path / f"{number}.sqlite")) as connection:
            assert connection.execute("SELECT COUNT(*) FROM people").fetchone() == (4,)
    for opener in openers:
        opener.communicate()
        assert opener.returncode == 0


def test_a_state_whose_folder_cannot_be_written_is_not_an_empty_one(bundle: Path, state: Path, tmp_path: Path) -> None:
    """As a volume that came back read-only, which root cannot make without mounting: the witness cannot be opened."""
    witness = state.with_name(f".{state.name}.witness")
    witness.unlink()
    witness.mkdir()
    with running_server(bundle, log=tmp_path / "log") as server:
        assert answer(server.address, OUT) == answer(server.address, OTHER) == DENIED
        assert state_of(server.address) == ("degraded", 0.0)


def test_only_a_state_that_never_was_is_an_empty_one(bundle: Path, tmp_path: Path) -> None:
    with running_server(bundle, log=tmp_path / "log") as server:
        assert answer(server.address, OUT) == ("transfer", None)
        assert state_of(server.address) == ("ok", 1.0)
