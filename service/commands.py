"""``diffcdr serve``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from service import logs
from service.app import create_app
from service.registry import load_model
from service.runtime import Lifecycle
from service.server import bind, make_server
from service.settings import Settings

logger = logging.getLogger(__name__)


def serve(
    bundle: Annotated[Path | None, typer.Option(help="Bundle directory to serve. [DIFFCDR_BUNDLE]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [DIFFCDR_HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. [DIFFCDR_PORT, 8000]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [DIFFCDR_DEVICE, auto]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a transfer graph. [DIFFCDR_THREADS, 1]")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json. [DIFFCDR_LOG_FORMAT, text]")] = None,
    access_log: Annotated[bool | None, typer.Option(help="Log every request. [DIFFCDR_ACCESS_LOG, off]")] = None,
) -> None:
    """Serve a bundle over REST until Ctrl-C or SIGTERM.

    Options win over the DIFFCDR_* environment, which sets everything else there is to set (docs/operations.md).
    """
    settings = Settings.read(
        bundle=bundle,
        host=host,
        port=port,
        device=device,
        threads=threads,
        log_format=log_format,
        access_log=access_log,
    )
    logs.configure(settings)
    listener = bind(settings.host, settings.port)
    with listener:
        model = load_model(settings.bundle, device=settings.device, threads=settings.threads)
        lifecycle = Lifecycle()
        server = make_server(create_app(settings, model=model, lifecycle=lifecycle), settings, lifecycle)
        address, port_taken = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        logger.info(
            "serving %s on http://%s:%d (API at /docs)",
            settings.bundle,
            shown,
            port_taken,
            extra={"bundle": model.id, "device": model.device},
        )
        server.run(sockets=[listener])
    logger.info("stopped")
