"""Opt-outs, erasures and idempotency keys: one contract, kept by both stores."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from service.state.opening import open_store
from service.state.store import Claim, Store
from tests.unit.service.state.stores import BUNDLE, erased, run, suppressed
from tests.waiting import async_until


def test_an_opt_out_holds_until_it_is_taken_back(url: str) -> None:
    async def body(store: Store) -> None:
        await store.set_opt_out("a", True)
        await store.set_opt_out("b/ü\n", True)
        assert await suppressed(store) == {"a": True, "b/ü\n": True}
        await store.set_opt_out("a", False)
        assert await suppressed(store) == {"a": False, "b/ü\n": True}
        assert await erased(store) == []

    run(url, body)


def test_an_erasure_is_for_ever_and_keeps_its_receipt(url: str) -> None:
    async def body(store: Store) -> None:
        first = await store.erase("a")
        assert first == await store.erase("a")
        assert len(first.receipt) == 32
        await store.set_opt_out("a", True)
        await store.set_opt_out("a", False)
        assert await suppressed(store) == {"a": True}
        other = await store.erase("b")
        assert other.receipt != first.receipt
        assert await erased(store) == ["a", "b"]

    run(url, body)


def test_only_changes_are_numbered(url: str) -> None:
    async def body(store: Store) -> None:
        await store.set_opt_out("a", True)
        version = await store.version()
        for _ in range(3):
            await store.set_opt_out("a", True)
            await store.set_opt_out("stranger", True)
            await store.set_opt_out("stranger", True)
        assert version.store != ""
        assert await store.version() == replace(version, sequence=version.sequence + 1)
        assert await suppressed(store, version.sequence) == {"stranger": True}
        assert (await store.changes(version.sequence + 1)).suppressed == {}

    run(url, body)


def test_what_was_written_is_there_for_others_and_afterwards(url: str) -> None:
    async def write(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        await store.set_opt_out("a", True)
        await store.erase("b")
        assert await suppressed(other) == {"a": True, "b": True}
        assert replace(await other.version(), epoch="") == replace(await store.version(), epoch="")
        await other.close()

    async def read(store: Store) -> None:
        assert await suppressed(store) == {"a": True, "b": True}

    run(url, write)
    run(url, read)


def test_writers_at_once_lose_nothing(url: str) -> None:
    async def body(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        users = [f"u{number}" for number in range(60)]
        await asyncio.gather(*((store, other)[number % 2].set_opt_out(user, True) for number, user in enumerate(users)))
        assert await suppressed(store) == dict.fromkeys(users, True)
        assert (await store.version()).sequence == len(users)
        await other.close()

    run(url, body)


def test_a_key_belongs_to_what_was_first_asked_and_keeps_its_first_answer(url: str) -> None:
    async def body(store: Store) -> None:
        other = open_store(url, bundle=BUNDLE)
        assert await store.claim("k", "one", keep_seconds=60) == Claim("one")
        assert await other.claim("k", "two", keep_seconds=60) == Claim("one")
        assert await other.record_answer("k", "first/ü") == "first/ü"
        assert await store.record_answer("k", "second") == "first/ü"
        assert await store.claim("k", "one", keep_seconds=60) == Claim("one", "first/ü")
        assert await store.record_answer("unclaimed", "answer") == "answer"
        assert await store.claim("unclaimed", "x", keep_seconds=0.2) == Claim("x")

        async def is_free() -> bool:
            return await store.claim("unclaimed", "y", keep_seconds=60) == Claim("y")

        await async_until(is_free)
        claims = await asyncio.gather(
            *(one.claim("race", str(n), keep_seconds=60) for n in range(9) for one in (store, other))
        )
        assert len(set(claims)) == 1
        await other.close()

    run(url, body)
