"""The client for programs on an event loop, with the methods of :mod:`diffcdr.client.client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2 as httpx

from diffcdr.client import calls as questions
from diffcdr.client import items
from diffcdr.client.answers import BatchLine
from diffcdr.client.batches import HEADERS, PATH, AsyncUsers, Lines, async_pieces
from diffcdr.client.calls import Call
from diffcdr.client.retries import failure
from diffcdr.client.sending import Connected

P = ParamSpec("P")
T = TypeVar("T")


def _method(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """A method that sends the call ``build`` makes: its arguments, its documentation, its type of answer."""

    @wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return method


class AsyncClient(Connected[httpx.AsyncClient]):
    """An asynchronous client of the service. Use it with ``async with``, or :meth:`close` it; raises as ``Client``."""

    def _connect(self, options: dict[str, Any]) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    recommend = _method(questions.recommend)
    recommend_user = _method(questions.recommend_user)
    embed_users = _method(questions.embed_users)
    embed_vectors = _method(questions.embed_vectors)
    add_events = _method(questions.add_events)
    popular = _method(questions.popular)
    item = _method(items.item)
    change_item = _method(items.change_item)
    change_items = _method(items.change_items)
    put_list = _method(items.put_list)
    uploaded_list = _method(items.uploaded_list)
    uploaded_lists = _method(items.uploaded_lists)
    delete_list = _method(items.delete_list)
    opt_out = _method(questions.opt_out)
    opt_in = _method(questions.opt_in)
    erase = _method(questions.erase)
    find_users = _method(questions.find_users)
    find_items = _method(questions.find_items)
    similar_items = _method(questions.similar_items)
    history = _method(questions.history)
    user_map = _method(questions.user_map)
    place = _method(questions.place)
    activity = _method(questions.activity)
    models = _method(questions.models)
    model = _method(questions.model)
    experiments = _method(questions.experiments)
    load_model = _method(questions.load_model)
    activate_model = _method(questions.activate_model)
    roll_back = _method(questions.roll_back)
    set_traffic = _method(questions.set_traffic)
    readiness = _method(questions.readiness)

    async def send(self, call: Call[T]) -> T:
        """The answer to ``call``, with retries where they may help."""
        options = self._setup.request(call)

        async def ask() -> httpx.Response:
            return await self._http.request(call.method, call.path, **options)

        return call.read(await self._persist(ask, repeatable=call.repeatable))

    async def recommend_batch(self, users: AsyncUsers) -> AsyncGenerator[BatchLine, None]:
        """As ``Client.recommend_batch``; ``users`` may be asynchronous too. Close it if you stop early."""

        async def ask() -> httpx.Response:
            request = self._http.build_request("POST", PATH, content=async_pieces(users), headers=HEADERS)
            return await self._http.send(request, stream=True)

        response = await self._persist(ask, repeatable=isinstance(users, Sequence))
        lines = Lines()
        try:
            async for part in response.aiter_bytes():
                for line in lines.feed(part):
                    yield line
        except httpx.TransportError as error:
            raise failure(error) from error
        finally:
            await response.aclose()

    async def _persist(self, ask: Callable[[], Awaitable[httpx.Response]], *, repeatable: bool) -> httpx.Response:
        """The first good answer; raises the last failure where there is none."""
        tries = self._setup.tries(repeatable=repeatable)
        while True:
            cause: httpx.TransportError | httpx.Response
            try:
                cause = await ask()
                if cause.is_success:
                    return cause
                await cause.aread()
            except httpx.TransportError as error:
                cause = error
            await asyncio.sleep(tries.wait(cause))
