"""Uvicorn with a socket of our own and a drain in two steps."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from diffcdr.errors import InputError
from service.protocol import ServiceProtocol
from service.runtime import Lifecycle
from service.settings import Settings

logger = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """Stops on SIGINT at once and on SIGTERM after a grace time, always finishing what is in flight.

    SIGTERM switches readiness off and goes on serving for ``drain_seconds``, so that load balancers notice before
    connections are refused. A second signal cuts the grace time short; a third, what is in flight.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        lifecycle: Lifecycle,
        drain_seconds: float,
        on_start: Callable[[], None] | None = None,
    ) -> None:
        """``on_start`` is called once requests are answered."""
        super().__init__(config)
        self._on_start = on_start
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started and self._on_start is not None:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Unlike uvicorn's, it is not raised again afterwards: a clean stop exits with status 0."""
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
        asyncio.get_running_loop().call_later(self._drain_seconds, setattr, self, "should_exit", True)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises InputError where the address is taken, not ours, or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --port or --host"
        ) from error
    listener.set_inheritable(True)
    return listener


def make_server(
    app: FastAPI, settings: Settings, lifecycle: Lifecycle, *, on_start: Callable[[], None] | None = None
) -> DrainingServer:
    """A server for ``app``; run it with ``server.run(sockets=[bind(…)])``. ``on_start``: called once it answers."""
    config = uvicorn.Config(
        app.state.front,
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here looks at the client's address.
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.finish_seconds)),
        http=ServiceProtocol,
        lifespan="on",
        ws="none",
    )
    return DrainingServer(config, lifecycle=lifecycle, drain_seconds=settings.drain_seconds, on_start=on_start)
