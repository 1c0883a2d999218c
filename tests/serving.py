"""A real server on a free port, in a thread of the test's process, so that tests can put their own engine behind it."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import io
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx

from diffcdr.recommend.recommender import Query, Recommendation, Recommender, UserUnknown
from service.app import create_app
from service.bundles.registry import MAX_K, Model, load_model
from service.components import Lifecycle
from service.process.listening import bind
from service.process.server import make_server
from service.settings import Settings
from tests import web
from tests.waiting import LIMIT_SECONDS, elapse, until


class GatedRecommender:
    """A recommender whose calls a test holds up, and which writes down the users it computed.

    Attributes it does not have are those of the recommender it stands in front of.
    """

    def __init__(self, inner: Recommender) -> None:
        self._inner = inner
        self._open = threading.Event()
        self._open.set()
        self._passing = 0
        self.delay = 0.0
        """Seconds that every call takes."""
        self.calls: list[list[str | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def answer(self, queries: Sequence[Query]) -> list[Recommendation | UserUnknown]:
        self.calls.append([query.user_id for query in queries])
        elapse(self.delay)
        if self._passing:
            self._passing -= 1
        else:
            assert self._open.wait(LIMIT_SECONDS), "the test has not let it go on"
        if any(query.user_id == "poison" for query in queries):
            raise RuntimeError("poisoned")
        return self._inner.answer(queries)

    @contextmanager
    def held(self, *, after: int = 0) -> Iterator[Callable[[], None]]:
        """``after`` more calls go through; the next does not end before this does, or what it gives is called."""
        self._passing = after
        self._open.clear()
        try:
            yield self._open.set
        finally:
            self._passing = 0
            self._open.set()

    @property
    def users(self) -> list[str | None]:
        """Every user computed, in order."""
        return [user for call in self.calls for user in call]


def gated_model(path: Path) -> tuple[Model, GatedRecommender]:
    """The bundle at ``path`` behind a :class:`GatedRecommender`."""
    inner = load_model(path, device="auto", threads=1).recommender
    gate = GatedRecommender(inner)
    return Model(cast(Recommender, gate), popular=inner.popular(MAX_K)), gate


UNHURRIED = {"timeout_ms": 60_000, "state_patience_ms": 60_000}
"""Settings with which no answer is another one because the machine is busy. Tests of lateness set their own."""


@contextmanager
def serving(bundle: Path, *, model: Model | None = None, **overrides: Any) -> Iterator[httpx.Client]:
    """A client of a server for ``bundle``; the server is gone afterwards.

    ``overrides`` are settings; those without are the defaults, and :data:`UNHURRIED`.
    """
    settings = Settings.read(bundle=bundle, port=0, **{**UNHURRIED, **overrides})
    lifecycle = Lifecycle()
    server = make_server(create_app(settings, model=model, lifecycle=lifecycle), settings, lifecycle)
    with bind(settings.host, settings.port) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started, "the server did not start"
            with web.client(base_url=address) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive(), f"the server did not stop\n{_what_goes_on()}"


def _what_goes_on() -> str:
    """Where every thread and every task of asyncio stands."""
    tasks = io.StringIO()
    for each in gc.get_objects():
        if isinstance(each, asyncio.Task) and not each.done():
            each.print_stack(file=tasks)
    with tempfile.TemporaryFile("w+") as threads:
        faulthandler.dump_traceback(threads)
        threads.seek(0)
        return threads.read() + tasks.getvalue()


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of the samples called ``name`` that carry ``labels``, as /metrics shows them; 0 without any."""
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        sample, _, value = line.rpartition(" ")
        found, _, text = sample.partition("{")
        if found == name and all(f'{label}="{wanted}"' in text for label, wanted in labels.items()):
            total += float(value)
    return total
