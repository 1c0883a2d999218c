"""Changes of items: one contract for both stores, and a copy that follows, and fails closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcdr.filtering.changes import UNKNOWN, ItemChange
from service.state.items.following import ItemFollower
from service.state.items.store import ItemVersion, ItemWish, NoItems
from service.state.store import StateUnavailable, Store
from tests.unit.service.state.stores import run

wishes = st.dictionaries(
    st.sampled_from(["a", "b", "é", "a b"]),
    st.builds(
        ItemWish,
        st.none() | st.booleans(),
        st.none() | st.lists(st.sampled_from(["sale", 'q"\\', "é"]), unique=True, max_size=2).map(tuple),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
)


def applied(known: Mapping[str, ItemChange], asked: Mapping[str, ItemWish]) -> dict[str, ItemChange]:
    found = dict(known)
    for item, wish in asked.items():
        before = found.get(item, ItemChange())
        found[item] = ItemChange(
            before.available if wish.keep_available else wish.available, before.tags if wish.keep_tags else wish.tags
        )
    return found


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(wishes, min_size=1, max_size=4))
def test_each_change_holds_and_copies_follow_however_late(url: str, said: list[dict[str, ItemWish]]) -> None:
    async def body(store: Store) -> None:
        often, late = ItemFollower(store.items), ItemFollower(store.items)
        assert await often.refresh() and often.now.known
        expected = dict(often.now.entries)  # of earlier examples
        for asked in said:
            before = (await store.items.version()).sequence
            await store.items.change(asked)
            assert (await store.items.version()).sequence == before + len(asked)
            expected = applied(expected, asked)
            assert await often.refresh()
            assert often.now.entries == expected
        assert await late.refresh()
        assert late.now.entries == expected

    run(url, body)


def test_what_was_written_is_there_for_others_and_afterwards(url: str) -> None:
    async def write(store: Store) -> None:
        await store.items.change({f"i{row}": ItemWish(available=False) for row in range(10_001)})

    async def read(store: Store) -> None:
        follower = ItemFollower(store.items)
        assert follower.now is UNKNOWN
        assert await follower.refresh()
        assert len(follower.now.entries) == 10_001
        assert not any(change.available for change in follower.now.entries.values())

    run(url, write)
    run(url, read)


uploads = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c.1"]), st.none() | st.lists(st.sampled_from(["i", "é", 'q"']), max_size=3)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(uploads)
def test_uploaded_lists_are_there_for_every_copy_until_they_are_deleted(
    url: str, said: list[tuple[str, list[str] | None]]
) -> None:
    async def body(store: Store) -> None:
        often, late = ItemFollower(store.items), ItemFollower(store.items)
        assert await often.refresh()
        expected = {name: found.items() for name, found in often.now.lists.items()}  # of earlier examples
        for name, items in said:
            before = often.now
            if items is None:
                await store.items.delete_list(name)
                expected.pop(name, None)
            else:
                await store.items.put_list(name, json.dumps(items))
                expected[name] = tuple(items)
            assert await often.refresh()
            assert {name: found.items() for name, found in often.now.lists.items()} == expected
            # Nothing else changes, and what did not change is not read again.
            assert (often.now.serial, often.now.entries) == (before.serial, before.entries)
            kept = expected.keys() & before.lists.keys() - {name}
            assert all(often.now.lists[each] is before.lists[each] for each in kept)
        assert await late.refresh()
        assert late.now.lists == often.now.lists

    run(url, body)


class Scripted(NoItems):
    """A store that answers as the test says."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.store, self.items, self.away = "one", [ItemChange(False)], False

    async def version(self) -> ItemVersion:
        if self.away:
            raise StateUnavailable("away")
        return ItemVersion(self.store, len(self.items))

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        return len(self.items), {f"i{number}": change for number, change in enumerate(self.items)}


def test_nothing_is_available_before_the_store_was_read_and_what_was_withdrawn_stays_so() -> None:
    async def main() -> None:
        store = Scripted()
        store.away = True
        follower = ItemFollower(store)
        assert not await follower.refresh() and not follower.now.known
        store.away = False
        assert await follower.refresh() and follower.now.known
        assert follower.now.entries == {"i0": ItemChange(False)}
        store.away = True
        assert not await follower.refresh()
        assert follower.now.known and follower.now.entries == {"i0": ItemChange(False)}
        # An older copy, or another store, that says otherwise.
        store.away, store.store, store.items = False, "two", [ItemChange(True), ItemChange(False)]
        assert await follower.refresh()
        assert follower.now.entries == {"i0": ItemChange(False), "i1": ItemChange(False)}
        # What this store is told afterwards counts.
        store.items = [*store.items, ItemChange(True)]
        assert await follower.refresh()
        assert follower.now.entries["i2"] == ItemChange(True)

    asyncio.run(main())
