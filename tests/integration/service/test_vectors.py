"""Source vectors in a real Redis: pushed, read, and what happens while it is away."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import redis
from rich.console import Console

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.progress import Reporter
from service.bundles.registry import load_model
from service.commands import push as push_command
from service.state import push_vectors as push
from service.state import redis_vectors as vectors
from service.state.redis_connection import parse_address
from service.state.redis_vectors import RedisVectors, vectors_key
from tests.bundles import write_bundle
from tests.redis_server import OwnRedis
from tests.serving import serving
from tests.waiting import until
from tests.web import lines_without_ids

ADDRESS = "/v1/recommendations"
USER = "u00100"
QUIET = Reporter(Console(quiet=True))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path, users=3000, items=200)
    return path


def ask(client: httpx.Client, user: str = USER, **options: Any) -> Any:
    return client.post(ADDRESS, json={"user_id": user, **options}).json()


def test_answers_are_those_of_the_bundle_to_the_last_bit(bundle: Path, redis_url: str) -> None:
    users = [f"u{row:05d}" for row in range(0, 3000, 111)] + ["v00001", "nobody"]
    push_command(bundle, redis_url)
    with serving(bundle) as plain, serving(bundle, vectors="redis", vectors_url=redis_url) as client:
        for user in users:
            expected, found = ask(plain, user), ask(client, user)
            ids = {"request_id": "", "recommendation_id": ""}
            assert {**expected, **ids} == {**found, **ids}
        assert ask(client, "nobody")["fallback_reason"] == "unknown_user"
        batch = [{"user_id": user} for user in users]
        of_bundle, of_redis = (one.post(f"{ADDRESS}/batch", json=batch).content for one in (plain, client))
        assert lines_without_ids(of_redis) == lines_without_ids(of_bundle)
        wanted = {"user_ids": users}
        embedded = [one.post("/v1/embeddings", json=wanted).json()["embeddings"] for one in (plain, client)]
        assert embedded[0] == embedded[1]
        client.put("/v1/users/u02999/opt-out")
        assert ask(client, "u02999")["fallback_reason"] == "opted_out"


def test_without_redis_everybody_gets_something_and_its_return_is_noticed(
    bundle: Path, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[object] = []
    execute = redis.asyncio.Redis.execute_command

    def noting(client: Any, *command: Any, **options: Any) -> Any:
        questions.append(command[0])
        return execute(client, *command, **options)

    monkeypatch.setattr(redis.asyncio.Redis, "execute_command", noting)
    with serving(bundle, vectors="redis", vectors_url=own_redis.url, vectors_kept=1) as client:
        away = ask(client)
        assert (away["strategy"], away["fallback_reason"]) == ("popular", "vectors_unavailable")
        denied = client.post(ADDRESS, json={"user_id": USER, "fallback": "deny"})
        assert (denied.status_code, denied.json()["code"], denied.headers["retry-after"]) == (
            503,
            "state_unavailable",
            "1",
        )
        assert client.post("/v1/embeddings", json={"user_ids": [USER]}).status_code == 503
        own_redis.start()
        push_command(bundle, own_redis.url)
        until(lambda: ask(client)["strategy"] == "transfer")
        # Longer than a busy machine needs between the next two callers.
        monkeypatch.setattr(vectors, "PAUSE_SECONDS", 4.0)
        with own_redis.paused():
            questions.clear()
            assert ask(client)["strategy"] == "transfer", "the vector is still at hand"
            assert ask(client, "u00200")["fallback_reason"] == "vectors_unavailable"
            assert ask(client, "u00201")["fallback_reason"] == "vectors_unavailable"
            assert questions == ["HMGET"], "one caller waits, not one after another"
        until(lambda: ask(client, "u00200")["strategy"] == "transfer")


def test_who_asks_at_once_shares_a_round_trip(bundle: Path, redis_url: str) -> None:
    push_command(bundle, redis_url)
    opened = open_bundle(bundle)
    users = [f"u{row:05d}" for row in range(500)]

    async def main() -> None:
        vectors = RedisVectors(parse_address(redis_url, name="url"), keep=100)
        with redis.Redis.from_url(redis_url) as client:
            client.config_resetstat()
            found = await asyncio.gather(*(vectors.find(opened.id, [user], dim=8) for user in users))
            calls = client.info("commandstats")["cmdstat_hmget"]["calls"]
        assert calls == 1
        for row, (user, one) in enumerate(zip(users, found, strict=True)):
            np.testing.assert_array_equal(one.vectors[user], opened.source_users.vectors[row])
        vectors.forget(users[-1])
        assert (await vectors.find("another bundle", users[-2:], dim=8)).complete is False
        await vectors.close()

    asyncio.run(main())


def test_half_a_push_is_never_served_and_the_rest_is_pushed_later(
    bundle: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "ROWS", 200)
    opened = open_bundle(bundle)
    with redis.Redis.from_url(redis_url) as client:

        class Cut(redis.Redis):
            trips = 0

            def pipeline(self, *args: Any, **kwargs: Any) -> Any:
                self.trips += 1
                if self.trips == 3:
                    raise redis.exceptions.ConnectionError("gone")
                return super().pipeline(*args, **kwargs)

        with Cut.from_url(redis_url) as cut, pytest.raises(InputError, match="push again"):
            push.push_vectors(opened, cut, reporter=QUIET)
        assert not client.exists(vectors_key(opened.id))
        assert client.hlen(f"{vectors_key(opened.id)}:partial") == 2000
        client.config_resetstat()
        assert push.push_vectors(opened, client, reporter=QUIET, ttl=100).users == 3000
        assert client.info("commandstats")["cmdstat_hset"]["calls"] == 5 + 1, "only what was missing"
        assert client.keys() == [vectors_key(opened.id).encode()]
        assert 0 < client.ttl(vectors_key(opened.id)) <= 100
        assert push.push_vectors(opened, client, reporter=QUIET).already_there
        assert client.ttl(vectors_key(opened.id)) == -1


def test_older_bundles_are_pruned(bundle: Path, tmp_path: Path, redis_url: str) -> None:
    write_bundle(tmp_path / "other", seed=1)
    push_command(tmp_path / "other", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.set("something else", "1")
        push_command(bundle, redis_url, prune=True)
        found = load_model(bundle, device="cpu", threads=1).id
        assert set(client.keys()) == {b"something else", vectors_key(found).encode()}


def test_a_redis_without_room_refuses_and_keeps_nothing(
    bundle: Path, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "ROWS", 100)
    client = own_redis.start()
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 150_000)
    with pytest.raises(InputError, match="maxmemory"):
        push_command(bundle, own_redis.url)
    assert client.keys() == []


def test_a_wrong_address_is_a_sentence(bundle: Path) -> None:
    for url in ("nowhere", f"unix:///nothing-{os.getpid()}.sock"):
        with pytest.raises(InputError):
            push_command(bundle, url)
    with pytest.raises(InputError, match="DIFFCDR_VECTORS_URL"), serving(bundle, vectors="redis"):
        pass
