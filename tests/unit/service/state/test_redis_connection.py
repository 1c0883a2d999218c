"""Redis as it is deployed: behind a balancer, Sentinels or TLS, as a Cluster, with users and odd passwords."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from service.state.exporting import export_events
from service.state.push_vectors import connect, push_vectors
from service.state.redis_connection import parse_address
from service.state.redis_vectors import RedisVectors
from service.state.store import Store
from tests.bundles import write_bundle
from tests.unit.service.state.redis_servers import balancer, free_port, port_of, server
from tests.unit.service.state.stores import erased, event, run, suppressed
from tests.waiting import until

SECRET = "s3cret#/?@[]:%"  # pragma: allowlist secret


@pytest.mark.parametrize(
    ("url", "nodes", "options"),
    [
        ("redis://localhost", (("localhost", 6379),), {}),
        ("redis://h:1/3", (("h", 1),), {"db": 3}),
        ("redis://h?db=2&client_name=x", (("h", 6379),), {"db": 2, "client_name": "x"}),
        ("redis://ann:p%23w@h", (("h", 6379),), {"username": "ann", "password": "p#w"}),  # pragma: allowlist secret
        ("redis://:p@w@h", (("h", 6379),), {"password": "p@w"}),  # pragma: allowlist secret
        ("rediss://[::1]:7?ssl_cert_reqs=none", (("::1", 7),), {"ssl": True, "ssl_cert_reqs": "none"}),
        ("unix:///tmp/a.sock?db=1", (), {"unix_socket_path": "/tmp/a.sock", "db": 1}),
        ("redis+cluster://a,b:7", (("a", 6379), ("b", 7)), {}),
        (
            "redis+sentinel://:x@a,b:7/main/2",
            (("a", 26379), ("b", 7)),
            {"password": "x", "db": 2},
        ),  # pragma: allowlist secret
    ],
)
def test_addresses(url: str, nodes: tuple[tuple[str, int], ...], options: dict[str, object]) -> None:
    address = parse_address(url, name="X")
    assert (address.nodes, address.options) == (nodes, options)
    assert address.service == ("main" if "sentinel" in url else "")


@given(password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_password_can_be_given_percent_encoded(password: str) -> None:
    assert parse_address(f"redis://ann:{quote(password, safe='')}@h:1", name="X").options["password"] == password


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h",  # pragma: allowlist secret
        "redis://:s3cret#x@h",  # pragma: allowlist secret
        "redis://:s3cret/x@h:1",
        "redis://:s3cret?x@h",  # pragma: allowlist secret
        "redis://:s3cret[x@h",  # pragma: allowlist secret
        "redis://ann:s3cret@h:port",  # pragma: allowlist secret
        "redis://ann:s3cret@h:70000",  # pragma: allowlist secret
        "redis://ann:s3cret@a,b",  # pragma: allowlist secret
        "redis://ann:s3cret@h/x",  # pragma: allowlist secret
        "redis://ann:s3cret@h?foo=bar",  # pragma: allowlist secret
        "redis://ann:s3cret@h?db=s3cret",  # pragma: allowlist secret
        "redis+sentinel://ann:s3cret@h",  # pragma: allowlist secret
        "redis+cluster://ann:s3cret@h/1",  # pragma: allowlist secret
        "postgres://ann:s3cret@h",  # pragma: allowlist secret
        "unix+cluster://ann:s3cret@h",  # pragma: allowlist secret
        "unix://",
        "",
    ],
)
def test_what_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match="^DIFFCDR_STATE_URL") as refused:
        parse_address(url, name="DIFFCDR_STATE_URL")
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(refused.value)


def test_no_one_sees_a_password_in_an_address() -> None:
    address = "redis+sentinel://ann:s3cret@h/main?sentinel_password=s3cret"  # pragma: allowlist secret
    assert "s3cret" not in repr(parse_address(address, name="X"))


def test_after_a_failover_new_connections_find_the_new_primary(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(server(tmp_path / name)) for name in "ab")
        second.execute_command("REPLICAOF", "127.0.0.1", port_of(first))
        until(lambda: second.info("replication")["master_link_status"] == "up")
        front = stack.enter_context(balancer(port_of(first)))

        async def body(store: Store) -> None:
            await store.set_opt_out("before", True)
            before = await store.version()
            until(lambda: second.hget("diffcdr:state:opted_out", "before") == "1")
            assert (await store.histories(["nobody"])) == {}
            second.execute_command("REPLICAOF", "NO", "ONE")
            first.execute_command("REPLICAOF", "127.0.0.1", port_of(second))
            front.target = port_of(second)
            # Reading alone finds the new primary, so that what is told of the state's health is true.
            after = await store.version()
            assert (after.store, after.sequence) == (before.store, before.sequence)
            assert after.epoch != before.epoch, "another server, which may lack what was acknowledged"
            await store.set_opt_out("after", True)
            assert await store.add_events([event("1", "a"), event("2", "b")], keep_seconds=60) == ["accepted"] * 2
            await store.erase("gone")
            assert await suppressed(store) == {"before": True, "after": True, "gone": True}
            assert second.hget("diffcdr:state:opted_out", "after") == "1"

        run(f"redis://127.0.0.1:{front.port}", body)


def test_a_server_that_takes_no_writes_is_not_well(tmp_path: Path) -> None:
    with server(tmp_path / "a") as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

        async def body(store: Store) -> None:
            with pytest.raises(Exception, match="Redis refuses: You can't write against a read only replica"):
                await store.version()

        run(f"redis://127.0.0.1:{port_of(client)}", body)


def test_sentinels_name_the_primary(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(server(tmp_path / name)) for name in "ab")
        second.execute_command("REPLICAOF", "127.0.0.1", port_of(first))
        until(lambda: second.info("replication")["master_link_status"] == "up")
        watch = f"sentinel monitor main 127.0.0.1 {port_of(first)} 1\nsentinel down-after-milliseconds main 60000\n"
        sentinel = stack.enter_context(server(tmp_path / "s", "--sentinel", content=watch))

        # It looks at its servers every ten seconds, and gives their answers seconds more.
        sentinel.execute_command("SENTINEL", "DEBUG", "info-period", 100, "ping-period", 100, "publish-period", 100)

        def primary() -> int:
            return int(sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])

        def fails_over() -> bool:
            try:
                return bool(sentinel.execute_command("SENTINEL", "FAILOVER", "main"))
            except redis.exceptions.ResponseError:  # it has not yet looked at the replica
                return False

        until(lambda: len(sentinel.execute_command("SENTINEL", "REPLICAS", "main")) == 1)

        async def body(store: Store) -> None:
            await store.set_opt_out("before", True)
            until(lambda: second.hget("diffcdr:state:opted_out", "before") == "1")
            until(fails_over)
            until(lambda: primary() == port_of(second) and first.info("replication")["role"] == "slave")
            await store.set_opt_out("after", True)
            assert await suppressed(store) == {"before": True, "after": True}
            assert second.hget("diffcdr:state:opted_out", "after") == "1"

        run(f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/main", body)


def test_a_cluster_holds_state_and_vectors(tmp_path: Path) -> None:
    with server(tmp_path / "a", "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        url = f"redis+cluster://127.0.0.1:{port_of(client)}"

        async def body(store: Store) -> None:
            await store.set_opt_out("out", True)
            assert (await store.erase("gone")).user_id == "gone"
            assert await store.add_events(
                [event("1", "a"), event("1", "b"), event("1", "a"), event("1", "out")], keep_seconds=60
            ) == ["accepted", "accepted", "duplicate", "suppressed"]
            assert await store.histories(["a", "b", "c"]) == {"a": (("s1", 5.0),), "b": (("s1", 5.0),)}
            assert [one.user_id for one in (await export_events(store)).events] == ["a", "b"]
            assert await suppressed(store) == {"out": True, "gone": True}
            assert await erased(store) == ["gone"]
            assert (await store.version()).sequence == 2
            assert not (await store.claim("k", "x", keep_seconds=60)).answer
            assert await store.record_answer("k", "yes") == "yes"

        run(url, body)
        write_bundle(tmp_path / "bundle")
        bundle = open_bundle(tmp_path / "bundle")
        with connect(url) as pushing:
            assert push_vectors(bundle, pushing, reporter=Reporter(), prune=True).users == len(bundle.source_users.ids)
            assert push_vectors(bundle, pushing, reporter=Reporter()).already_there
        user = bundle.source_users.ids.array[0].decode()

        async def read() -> None:
            vectors = RedisVectors(parse_address(url, name="X"), keep=10)
            found = await vectors.find(bundle.id, [user], dim=bundle.source_users.vectors.shape[1])
            np.testing.assert_array_equal(found.vectors[user], bundle.source_users.vectors[0])
            await vectors.close()

        asyncio.run(read())


def test_acl_users_with_odd_passwords_may_do_what_they_need(tmp_path: Path) -> None:
    with server(tmp_path / "a") as client:
        rights = ["~diffcdr:*", "+@read", "+@write", "+@scripting", "+@transaction", "+@connection"]
        client.execute_command("ACL", "SETUSER", "ann", "on", f">{SECRET}", *rights)
        client.execute_command("ACL", "SETUSER", "default", "off")

        async def body(store: Store) -> None:
            await store.set_opt_out("out", True)
            await store.add_events([event("1", "a")], keep_seconds=60)
            assert [one.user_id for one in (await export_events(store)).events] == ["a"]
            assert await suppressed(store) == {"out": True}
            assert (await store.version()).sequence == 1

        async def refused(store: Store) -> None:
            with pytest.raises(Exception, match="Redis does not answer") as caught:
                await store.version()
            assert "wrong-one" not in str(caught.value)

        run(f"redis://ann:{quote(SECRET, safe='')}@127.0.0.1:{port_of(client)}", body)
        run(f"redis://ann:wrong-one@127.0.0.1:{port_of(client)}", refused)  # pragma: allowlist secret


def test_tls_is_spoken_and_certificates_are_checked(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    tls += ["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
    with server(tmp_path / "a", *tls):

        async def body(store: Store) -> None:
            await store.set_opt_out("out", True)
            assert await suppressed(store) == {"out": True}

        async def refused(store: Store) -> None:
            with pytest.raises(Exception, match="Redis does not answer"):
                await store.version()

        run(f"rediss://localhost:{port}?ssl_ca_certs={quote(str(certificate), safe='')}", body)
        run(f"rediss://localhost:{port}", refused)
