"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2 as httpx

from diffcdr.client import calls as questions
from diffcdr.client import items
from diffcdr.client.answers import BatchLine
from diffcdr.client.batches import HEADERS, PATH, Lines, pieces
from diffcdr.client.calls import Call, User
from diffcdr.client.retries import failure
from diffcdr.client.sending import Connected

P = ParamSpec("P")
T = TypeVar("T")


def _method(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that sends the call ``build`` makes: its arguments, its documentation, its type of answer."""

    @wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return method


class Client(Connected[httpx.Client]):
    """A synchronous client of the service. Threads may share it. Use it with ``with``, or :meth:`close` it.

    Every method raises :class:`ServiceError` where the service refuses and :class:`Unreachable` where none answers.
    """

    def _connect(self, options: dict[str, Any]) -> httpx.Client:
        return httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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

    def send(self, call: Call[T]) -> T:
        """The answer to ``call``, with retries where they may help."""
        options = self._setup.request(call)

        def ask() -> httpx.Response:
            return self._http.request(call.method, call.path, **options)

        return call.read(self._persist(ask, repeatable=call.repeatable))

    def recommend_batch(self, users: Iterable[str | User]) -> Generator[BatchLine, None, None]:
        """A line for each of ``users`` (ids, or :class:`User` with wishes of their own), in their order.

        Users are taken from their iterator as they are sent and lines are given out as they arrive, so both may be
        millions. Asked again only where ``users`` is a sequence and no line has arrived.
        """

        def ask() -> httpx.Response:
            request = self._http.build_request("POST", PATH, content=pieces(users), headers=HEADERS)
            return self._http.send(request, stream=True)

        response = self._persist(ask, repeatable=isinstance(users, Sequence))
        lines = Lines()
        try:
            for part in response.iter_bytes():
                yield from lines.feed(part)
        except httpx.TransportError as error:
            raise failure(error) from error
        finally:
            response.close()

    def _persist(self, ask: Callable[[], httpx.Response], *, repeatable: bool) -> httpx.Response:
        """The first good answer; raises the last failure where there is none."""
        tries = self._setup.tries(repeatable=repeatable)
        while True:
            cause: httpx.TransportError | httpx.Response
            try:
                cause = ask()
                if cause.is_success:
                    return cause
                cause.read()
            except httpx.TransportError as error:
                cause = error
            time.sleep(tries.wait(cause))
