"""Changes of items in Redis: two hashes, and a sorted set of items by the number of their last change.

Uploaded lists: a hash of their texts, one of their stamps, and the stamp of the last change.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from diffcdr.filtering.changes import ItemChange, NamedList
from service.state.items.store import ItemVersion, ItemWish, taken_over
from service.state.store import StateBroken

_NAMES = ("items_identity", "items_sequence", "items_changed", "items_available", "items_tags")
_LIST_NAMES = ("items_lists", "items_lists_stamps", "items_lists_stamp")
_PAGE = 10_000
_KEEP, _RESET = "-", "0"
# A value is "=" and the new value; "-" leaves it as it is, "0" removes it.
_CHANGE = """
redis.call('SETNX', KEYS[1], ARGV[1])
for i = 2, #ARGV, 3 do
    for place = 1, 2 do
        local value = ARGV[i + place]
        if value == '0' then
            redis.call('HDEL', KEYS[3 + place], ARGV[i])
        elseif value ~= '-' then
            redis.call('HSET', KEYS[3 + place], ARGV[i], string.sub(value, 2))
        end
    end
    redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[2]), ARGV[i])
end
"""


_PUT_LIST = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[3])
"""
_DELETE_LIST = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2])
"""
# A list and its stamp belong together.
_READ_LIST = "return {redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1])}"


class Answered(Protocol):
    """Awaits a call to Redis; errors become StateUnavailable or StateBroken."""

    def __call__(self, call: Callable[[], Awaitable[Any]], /) -> Awaitable[Any]:
        """The result of ``call``."""
        ...


class RedisItems:
    """A :class:`service.state.items.store.ItemStore` in Redis, under ``prefix``."""

    def __init__(self, client: Any, answered: Answered, *, prefix: str) -> None:
        self._client, self._answered = client, answered
        self._keys = tuple(prefix + name for name in _NAMES)
        self._change = client.register_script(_CHANGE)
        self._lists = tuple(prefix + name for name in _LIST_NAMES)
        self._put_list = client.register_script(_PUT_LIST)
        self._delete_list = client.register_script(_DELETE_LIST)
        self._read_list = client.register_script(_READ_LIST)

    async def change(self, wishes: Mapping[str, ItemWish]) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""
        args = [uuid.uuid4().hex]
        for item, wish in wishes.items():
            available = (
                _KEEP if wish.keep_available else _RESET if wish.available is None else f"={int(wish.available)}"
            )
            tags = _KEEP if wish.keep_tags else _RESET if wish.tags is None else f"={json.dumps(wish.tags)}"
            args += (item, available, tags)
        await self._answered(lambda: self._change(keys=self._keys, args=args))

    async def version(self) -> ItemVersion:
        """As :class:`service.state.items.store.ItemStore` says."""

        async def read() -> Any:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.get(self._keys[0])
                pipe.get(self._keys[1])
                pipe.get(self._lists[2])
                return await pipe.execute()

        store, sequence, stamp = await self._answered(read)
        if (store is None) != (sequence is None) or not (sequence or "0").isdecimal():
            raise StateBroken(f"part of the state in Redis is missing: {self._keys[0]} or {self._keys[1]}")
        return ItemVersion(store or "", int(sequence or 0), stamp or "")

    async def changes(self, after: int) -> tuple[int, dict[str, ItemChange]]:
        """As :class:`service.state.items.store.ItemStore` says."""
        found: dict[str, ItemChange] = {}
        last = after
        while page := await self._answered(partial(self._page, last)):
            items = [item for item, _ in page]
            available, tags = await self._answered(partial(self._values, items))
            for item, there, texts in zip(items, available, tags, strict=True):
                found[item] = ItemChange(
                    None if there is None else there == "1", None if texts is None else tuple(json.loads(texts))
                )
            last = int(page[-1][1])
        return last, found

    async def put_list(self, name: str, text: str) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""
        args = (name, text, uuid.uuid4().hex)
        await self._answered(lambda: self._put_list(keys=self._lists, args=args))

    async def delete_list(self, name: str) -> None:
        """As :class:`service.state.items.store.ItemStore` says."""
        args = (name, uuid.uuid4().hex)
        await self._answered(lambda: self._delete_list(keys=self._lists, args=args))

    async def lists(self, known: Mapping[str, NamedList]) -> dict[str, NamedList]:
        """As :class:`service.state.items.store.ItemStore` says."""
        stamps: dict[str, str] = await self._answered(lambda: self._client.hgetall(self._lists[1]))
        texts: dict[str, str] = {}
        for name, stamp in tuple(stamps.items()):
            if name in known and known[name].stamp == stamp:
                continue
            # One at a time: a list may have megabytes.
            read = partial(self._read_list, keys=self._lists[:2], args=(name,))
            text, current = await self._answered(read)
            if text is not None and current is not None:
                texts[name], stamps[name] = text, current
        return taken_over(known, stamps, texts)

    async def _page(self, after: int) -> Any:
        return await self._client.zrangebyscore(self._keys[2], f"({after}", "+inf", start=0, num=_PAGE, withscores=True)

    async def _values(self, items: list[str]) -> Any:
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys[3], items)
            pipe.hmget(self._keys[4], items)
            return await pipe.execute()
