"""Changes of items in Redis: two hashes, and a sorted set of items by the number of their last change."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from diffcdr.filtering.changes import ItemChange
from service.state.items.store import ItemVersion, ItemWish
from service.state.store import StateBroken

_NAMES = ("items_identity", "items_sequence", "items_changed", "items_available", "items_tags")
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
                return await pipe.execute()

        store, sequence = await self._answered(read)
        if (store is None) != (sequence is None) or not (sequence or "0").isdecimal():
            raise StateBroken(f"part of the state in Redis is missing: {self._keys[0]} or {self._keys[1]}")
        return ItemVersion(store or "", int(sequence or 0))

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

    async def _page(self, after: int) -> Any:
        return await self._client.zrangebyscore(self._keys[2], f"({after}", "+inf", start=0, num=_PAGE, withscores=True)

    async def _values(self, items: list[str]) -> Any:
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys[3], items)
            pipe.hmget(self._keys[4], items)
            return await pipe.execute()
