"""Uvicorn with a drain in two steps."""

from __future__ import annotations

import asyncio
import gc
import logging
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.bundles.registry import Model
from service.components import Lifecycle
from service.host_tuning import aside
from service.process.connection import PatientConnection
from service.process.listening import BACKLOG, refused
from service.process.protocol import LINGER_SECONDS, ServiceProtocol, check_uvicorn
from service.process.stop_limit import finish_seconds
from service.settings import Settings

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""How long a thread that wants to go on waits for another one that computes in Python."""
LOOK_TICKS = 5
"""Connections are looked after every half second."""
QUEUE_SECONDS = 0.02
"""How often it is looked whether all are accepted."""
COLLECT_AFTER = 20_000
"""How many more objects than before there are when the youngest are looked through."""


class DrainingServer(uvicorn.Server):
    """Stops on SIGINT at once and on SIGTERM or SIGHUP after a grace time, always finishing what is in flight.

    SIGTERM switches readiness off and goes on serving for ``drain_seconds``, so that load balancers notice before
    connections are refused. A second signal cuts the grace time short; a third, what is in flight.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        lifecycle: Lifecycle,
        drain_seconds: float,
        on_start: Callable[[], Coroutine[Any, Any, None]] | None = None,
        on_stop: Callable[[], None] | None = None,
        on_drained: Callable[[], None] | None = None,
    ) -> None:
        """What to call: as :func:`make_server` says."""
        super().__init__(config)
        self._on_stop = on_stop
        self._on_start = on_start
        self._on_drained = on_drained
        self._listeners: list[socket.socket] = []
        self._draining: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; every fifth call checks for connections that take too long."""
        if counter % LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, PatientConnection):
                    connection.look(now)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load and warm up what the application needs, and only then listen.

        Raises:
            InputError: another process began to listen on the address meanwhile.
        """
        load = self.lifespan.startup

        async def load_and_listen() -> None:
            await load()
            if not self.lifespan.should_exit:
                await self._listen(sockets or [])

        # uvloop only logs that it cannot listen, and goes on.
        self.lifespan.startup = load_and_listen
        await super().startup(sockets)
        self._listeners = sockets or []
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda _, frame: self.handle_exit(signal.SIGTERM, frame))
        if self.started and self._on_start is not None:
            self._starting = asyncio.get_running_loop().create_task(self._on_start())

    async def _listen(self, sockets: list[socket.socket]) -> None:
        for listener in sockets:
            try:
                listener.listen(BACKLOG)
            except OSError as error:
                await self.lifespan.shutdown()
                raise refused(listener, error) from error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal. Unlike in uvicorn, it is not raised again afterwards: a clean stop exits with status 0."""
        if self._on_stop is not None:
            self._on_stop()
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and not self._lifecycle.draining and self.started:
            self._lifecycle.draining = True
            asyncio.get_running_loop().call_soon_threadsafe(self._drain)
        else:
            self._lifecycle.draining = True
            self.should_exit = True

    def _drain(self) -> None:
        logger.info("draining for %g s", self._drain_seconds)
        self._draining = asyncio.get_running_loop().create_task(self._serve_the_last())

    async def _serve_the_last(self) -> None:
        """Stop after the grace time, once every connection that waits in the kernel is accepted.

        Closing the socket earlier would reset those.
        """
        await asyncio.sleep(self._drain_seconds)
        if self._on_drained is not None:
            self._on_drained()
        await asyncio.sleep(LINGER_SECONDS)
        while not self.should_exit and any(map(_anyone_waits, self._listeners)):
            await asyncio.sleep(QUEUE_SECONDS)
        self.should_exit = True


def _anyone_waits(listener: socket.socket) -> bool:
    """Whether somebody has connected to ``listener`` and is not accepted yet."""
    return bool(select.select([listener], [], [], 0)[0])


async def tune_process(model: Model) -> None:
    """Tune this process once it answers with ``model``: compiled loops, garbage collection, thread switching.

    Compiled loops are loaded only now, as that takes longer than the rest of the start. Threads wait for each other a
    tenth of the usual 5 ms, as every hand-over between the loop and the engine may cost one such wait.

    Objects that exist before and after that are excluded from garbage collection: they stay, and requests leave no
    cycles behind. They are not collected first: that would hold up every request for a tenth of a second, and finds
    next to nothing.

    Only for a process that serves and does nothing else: all of these settings are global.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    await aside(model.compile)
    gc.freeze()


def make_server(
    app: FastAPI,
    settings: Settings,
    lifecycle: Lifecycle,
    *,
    on_start: Callable[[], Coroutine[Any, Any, None]] | None = None,
    on_stop: Callable[[], None] | None = None,
    on_drained: Callable[[], None] | None = None,
) -> DrainingServer:
    """A server for ``app``; run it with ``server.run(sockets=[…])``.

    ``on_start`` begins once it answers; ``on_stop`` is called by the handler of each signal to stop; ``on_drained`` is
    called when SIGTERM was longer ago than the grace time.

    Raises:
        DiffCDRError: the installed uvicorn is not one that the service can build on.
    """
    check_uvicorn()
    config = uvicorn.Config(
        app.state.front,
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here looks at the client's address.
        proxy_headers=False,
        timeout_graceful_shutdown=finish_seconds(settings),
        http=ServiceProtocol,
        timeout_keep_alive=max(1, round(settings.keep_alive_seconds)),
        # Else uvicorn takes them from variables that are not the service's.
        workers=1,
        forwarded_allow_ips="",
        lifespan="on",
        backlog=BACKLOG,
        ws="none",
    )
    return DrainingServer(
        config,
        lifecycle=lifecycle,
        drain_seconds=settings.drain_seconds,
        on_start=on_start,
        on_stop=on_stop,
        on_drained=on_drained,
    )
