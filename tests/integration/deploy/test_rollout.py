"""``diffcdr rollout`` over three real services behind a real nginx: nothing is lost, and nothing half done stays."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from redis import Redis

from diffcdr.bundle.reader import open_bundle
from diffcdr.client import Client
from diffcdr.commands.rollout import Replica, Rollout, addresses, read_key
from diffcdr.errors import BundleError, DiffCDRError, InputError
from diffcdr.progress import Reporter
from service.state.push_vectors import push_vectors
from tests import web
from tests.bundles import write_bundle
from tests.servers import Server, diffcdr, proxy, running_server
from tests.waiting import elapse, until

KEY = "as-random-as-they-come"
TRANSFERRED, REDIS_LATE = ("transfer", None), {("popular", "state_unavailable"), ("popular", "vectors_unavailable")}
"""What is answered, and what may be where the machine is so busy that Redis does not answer in time."""


@dataclass(frozen=True)
class Fleet:
    """Three replicas with bundle roots of their own: ``current`` is served, ``other`` is there to be taken."""

    servers: list[Server]
    roots: list[Path]
    key_file: Path
    current: str
    other: str

    @property
    def urls(self) -> str:
        return ",".join(server.address for server in self.servers)

    def serving(self) -> list[str]:
        return [web.get(f"{server.address}/readyz").json()["bundle"] for server in self.servers]

    def replicas(self) -> list[Replica]:
        return [Replica(server.address, KEY, 30.0) for server in self.servers]

    def run(self, path: str) -> list[str]:
        """Roll out what lies at ``path``, without a process of its own; what was said."""
        said: list[str] = []
        Rollout(self.replicas(), 0.0, said.append).run(path)
        return said


@pytest.fixture
def fleet(started: Fleet) -> Iterator[Fleet]:
    """The replicas, which serve ``current`` again for the next test however this one ends."""
    yield started
    if set(started.serving()) != {started.current}:
        started.run("current")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, redis_socket: Path) -> Iterator[Fleet]:
    """As the compose profile ``scale`` has it: state and source vectors in Redis, shared by all."""
    folder = tmp_path_factory.mktemp("fleet")
    key_file = folder / "key"
    key_file.write_text(f"{KEY}\n")
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    roots = [folder / name for name in ("one", "two", "three")]
    ids: dict[str, str] = {}
    for root in roots:
        ids["current"] = write_bundle(root / "current", users=300)
        ids["other"] = write_bundle(root / "other", users=300, seed=1)
        write_bundle(root / "damaged", users=300, seed=2)
        write_bundle(root / "mixed", users=300, seed=4 if root == roots[2] else 3)
    # Of one replica only: the others could take it.
    vectors = roots[1] / "damaged" / "target_items" / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    url = f"unix://{redis_socket}"
    with Redis.from_url(url) as client:
        client.flushall()
        for name in ids:
            push_vectors(open_bundle(roots[0] / name), client, reporter=Reporter())
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                running_server(
                    root / "current",
                    log=root / "log",
                    DIFFCDR_STATE_URL=url,
                    DIFFCDR_VECTORS="redis",
                    DIFFCDR_API_KEYS=f"read,admin:{digest}",
                )
            )
            for root in roots
        ]
        yield Fleet(servers, roots, key_file, ids["current"], ids["other"])


@dataclass
class Load:
    """What callers behind the proxy got."""

    statuses: list[int] = field(default_factory=list)
    bundles: set[str] = field(default_factory=set)
    answers: set[tuple[str, str | None]] = field(default_factory=set)
    """Strategies, and why it was the popular list."""


@contextmanager
def load(address: str, callers: int = 2) -> Iterator[Load]:
    seen, stop = Load(), threading.Event()

    def ask() -> None:
        headers = {"x-api-key": KEY}
        with web.client(base_url=address, headers=headers) as client:
            while not stop.is_set():
                answer = client.post("/v1/recommendations", json={"user_id": "u00042"})
                seen.statuses.append(answer.status_code)
                elapse(0.002)
                if answer.status_code == 200:
                    said = answer.json()
                    seen.bundles.add(said["bundle"])
                    seen.answers.add((said["strategy"], said["fallback_reason"]))

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_all_replicas_switch_under_load_and_no_request_is_lost(fleet: Fleet, tmp_path: Path, free_port: int) -> None:
    command = ["rollout", "--bundle", "other", "--replicas", fleet.urls, "--api-key-file", fleet.key_file]
    with (
        proxy(tmp_path, free_port, [server.address for server in fleet.servers]) as address,
        load(address) as seen,
    ):
        said = diffcdr(*command, "--dry-run").stderr
        assert said.count("is ready and serves") == 3
        assert fleet.serving() == [fleet.current] * 3
        said = diffcdr(*command, "--settle", "0.3").stderr
        assert fleet.serving() == [fleet.other] * 3
        before = len(seen.statuses)
        until(lambda: len(seen.statuses) > before + 20)
    assert said.count("switched from") == 3 and f"all 3 replicas serve bundle {fleet.other}" in said
    assert 0 < before < len(seen.statuses)
    assert set(seen.statuses) == {200}
    assert seen.bundles == {fleet.current, fleet.other}
    assert TRANSFERRED in seen.answers and seen.answers <= {TRANSFERRED, *REDIS_LATE}
    assert sum("serves it already" in line for line in fleet.run("other")) == 3
    fleet.run("current")
    assert fleet.serving() == [fleet.current] * 3


def test_a_bundle_that_one_replica_refuses_reaches_nobody(fleet: Fleet) -> None:
    done = diffcdr(
        "rollout", "--bundle", "damaged", "--replicas", fleet.urls, "--api-key-file", fleet.key_file, check=False
    )
    error = done.stderr[done.stderr.index("error:") :]
    assert done.returncode == BundleError.exit_code
    assert fleet.servers[1].address in error and "vectors.npy is damaged" in error
    assert error.endswith("every replica serves what it served before\n") and error.count("\n") == 1
    assert fleet.serving() == [fleet.current] * 3


def test_different_bundles_of_one_name_are_not_mixed(fleet: Fleet) -> None:
    with pytest.raises(BundleError, match="do not have the same bundle at mixed"):
        fleet.run("mixed")
    assert fleet.serving() == [fleet.current] * 3


class Stubborn(BaseHTTPRequestHandler):
    """A replica that loads everything and goes on serving what it did; it may die with the switch."""

    bundle = "0" * 64
    other: str
    dies: bool
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.dies and self.path.endswith("/activate"):
            self.close_connection = True
            return
        model = {
            "id": self.other if self.path.startswith("/v1/admin") else self.bundle,
            **dict.fromkeys(("state", "model", "preset", "device"), ""),
            **dict.fromkeys(("created_at", "loaded_at"), "2024-01-01T00:00:00Z"),
            **{name: {} for name in ("counts", "metrics", "components")},
            "status": "ok",
            "bundle": self.bundle,
            "items": [],
        }
        content = json.dumps(model).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to say."""


@contextmanager
def stubborn(other: str, *, dies: bool) -> Iterator[str]:
    kind = type("Handler", (Stubborn,), {"other": other, "dies": dies})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("dies", "says"), [(False, "was not ready and answering with it"), (True, "did not switch")])
def test_a_replica_that_does_not_come_back_with_it_takes_all_the_others_back(
    fleet: Fleet, dies: bool, says: str
) -> None:
    said: list[str] = []
    with stubborn(fleet.other, dies=dies) as address:
        replicas = [*fleet.replicas()[:2], Replica(address, KEY, 1.0)]
        with pytest.raises(DiffCDRError, match=says) as stopped:
            Rollout(replicas, 0.0, said.append).run("other")
    assert address in str(stopped.value)
    assert [server.address for server in fleet.servers[:2]] == [
        line.split()[0] for line in reversed(said) if "went back to" in line and address not in line
    ]
    assert fleet.serving() == [fleet.current] * 3


def test_an_interrupted_rollout_is_taken_back(fleet: Fleet) -> None:
    def say(line: str) -> None:
        if "switched" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Rollout(fleet.replicas(), 0.0, say).run("other")
    assert fleet.serving() == [fleet.current] * 3


def test_a_replica_that_is_away_or_lets_nobody_in_stops_it_before_anything_is_changed(
    fleet: Fleet, tmp_path: Path, free_port: int
) -> None:
    away = Replica(f"http://127.0.0.1:{free_port}", KEY, 1.0)
    with pytest.raises(DiffCDRError, match="is not ready: the service did not answer"):
        Rollout([*fleet.replicas(), away], 0.0, print).run("other")
    with pytest.raises(DiffCDRError, match="every replica serves what it served before"):
        Rollout([Replica(fleet.servers[0].address, "wrong", 1.0)], 0.0, print).run("other")
    assert fleet.serving() == [fleet.current] * 3
    with Client(fleet.servers[0].address, api_key=KEY) as client:
        assert client.readiness().components["bundle"] == "ok"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda folder: addresses("example.org"), "not the address of a replica"),
        (lambda folder: addresses("http://one:port"), "not the address of a replica"),
        (lambda folder: addresses(" , "), "names none"),
        (lambda folder: addresses("dns+http://no-such-host.invalid:8000"), "has no address"),
        (lambda folder: read_key(folder / "none"), "cannot read the key"),
        (lambda folder: read_key(folder / "empty"), "does not hold a key"),
    ],
)
def test_mistakes_get_one_sentence(call: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match=says):
        call(tmp_path)


def test_a_name_stands_for_all_of_its_addresses() -> None:
    assert addresses("dns+http://localhost:8000, http://b:1/,http://b:1") == ["http://127.0.0.1:8000", "http://b:1"]
