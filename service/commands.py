"""``diffcdr serve``, ``diffcdr erasures`` and ``diffcdr push``."""

from __future__ import annotations

import asyncio
import csv
import importlib
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket
from threading import Timer
from typing import Annotated

import typer

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import BundleError, InputError
from diffcdr.progress import Reporter
from service import logs
from service.app import create_app
from service.bundles.registry import load_model
from service.bundles.shared_lineup import LineupFile
from service.components import Lifecycle
from service.host_tuning import share_arenas
from service.metrics import forget_worker, keep_values_in
from service.process.listening import listening, shown, turn_away
from service.process.server import make_server, tune_process
from service.process.shared_folder import shared_folder
from service.process.stop_limit import PARENT_SECONDS, StopLimit, stop_seconds
from service.process.workers import Supervisor
from service.settings import PREFIX, Settings, unknown_variables
from service.state.opening import check_state
from service.state.reading import open_state
from service.state.store import Erasure, StateUnavailable

logger = logging.getLogger(__name__)


def serve(
    bundle: Annotated[Path | None, typer.Option(help="Bundle directory to serve. [DIFFCDR_BUNDLE]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [DIFFCDR_HOST, 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one. [DIFFCDR_PORT, 8000]")] = None,
    uds: Annotated[Path | None, typer.Option(help="Unix socket, in place of host and port. [DIFFCDR_UDS]")] = None,
    root_path: Annotated[
        str | None, typer.Option(help="Path prefix under which a proxy exposes the service. [DIFFCDR_ROOT_PATH]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [DIFFCDR_DEVICE, auto]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a transfer graph. [DIFFCDR_THREADS, 1]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes on the same port. [DIFFCDR_WORKERS, 1]")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json. [DIFFCDR_LOG_FORMAT, text]")] = None,
    access_log: Annotated[bool | None, typer.Option(help="Log every request. [DIFFCDR_ACCESS_LOG, off]")] = None,
) -> None:
    """Serve a bundle over REST until Ctrl-C or SIGTERM.

    Options override the DIFFCDR_* environment, which has all other settings (docs/reference/settings.md).
    """
    with logs.fatal_errors(log_format or os.environ.get(f"{PREFIX}LOG_FORMAT", "")):
        settings = Settings.read(
            bundle=bundle,
            host=host,
            port=port,
            uds=uds,
            root_path=root_path,
            device=device,
            threads=threads,
            workers=workers,
            log_format=log_format,
            access_log=access_log,
        )
        logs.configure(settings)
        for name in unknown_variables(os.environ):
            logger.warning("%s is not a setting of the service; docs/reference/settings.md lists all settings", name)
        check_state(settings)
        share_arenas()
        with listening(settings) as listener:
            logger.info("loading %s", settings.bundle)
            if settings.workers == 1:
                _serve_alone(settings, listener)
            else:
                _serve_together(settings, listener)
        logger.info("stopped")


def _serve_alone(settings: Settings, listener: socket) -> None:
    model = load_model(settings.bundle, **settings.loading)
    lifecycle = Lifecycle()
    app = create_app(settings, model=model, lifecycle=lifecycle)

    async def started() -> None:
        _say_where(settings, listener, model.log_fields)
        await tune_process(model)

    server = make_server(
        app,
        settings,
        lifecycle,
        on_start=started,
        on_stop=StopLimit(stop_seconds(settings)).begin,
        on_drained=partial(turn_away, listener),
    )
    server.run(sockets=[listener])


def _serve_together(settings: Settings, listener: socket) -> None:
    with shared_folder() as folder:
        lineup = LineupFile(folder)

        def run(index: int, ready: Callable[[], None]) -> None:
            keep_values_in(folder, worker=index)
            record = lineup.read()
            path = settings.bundle if record is None else record.stable_path
            model = load_model(path, **settings.loading)
            if record is not None and model.id != record.stable:
                raise BundleError(f"the other workers serve {record.stable}, which is not at {path} any more")
            # One that watches is enough; the others follow it.
            mine = settings if index == 0 else settings.model_copy(update={"watch_seconds": 0.0})
            lifecycle = Lifecycle()
            app = create_app(mine, model=model, lifecycle=lifecycle, folder=folder)

            async def started() -> None:
                ready()
                await tune_process(model)

            limit = StopLimit(stop_seconds(settings))
            make_server(app, mine, lifecycle, on_start=started, on_stop=limit.begin).run(sockets=[listener])

        # Workers take in the last ones themselves, but only all of them together stop listening.
        drained = Timer(settings.drain_seconds, turn_away, [listener])
        drained.daemon = True
        patience = stop_seconds(settings) + PARENT_SECONDS
        limit = StopLimit(patience + PARENT_SECONDS)

        def stopping() -> None:
            limit.begin()
            drained.start()

        Supervisor(
            settings.workers,
            run,
            on_ready=lambda: _say_where(settings, listener, {}),
            on_death=lambda index: forget_worker(folder, worker=index),
            on_empty=lineup.forget,
            on_stop=stopping,
            stop_seconds=patience,
        ).serve()


def _say_where(settings: Settings, listener: socket, extra: dict[str, str]) -> None:
    logger.info(
        "serving %s on %s (console at %s/console, API at %s/docs)",
        settings.bundle,
        shown(listener),
        settings.prefix,
        settings.prefix,
        extra=extra,
    )


def erasures(
    state: Annotated[
        str, typer.Option(help="sqlite:FILE or redis://…", envvar="DIFFCDR_STATE_URL", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="CSV file to write: user_id, receipt, erased_at.")],
    opted_out: Annotated[
        bool, typer.Option("--opted-out", help="Also list users who opted out, with an empty receipt and time.")
    ] = False,
) -> None:
    """List the users who asked to be forgotten, for the next training to leave out.

    The file appears whole or not at all.
    """
    try:
        found, others = asyncio.run(_erasures(state, opted_out=opted_out))
        partial = out.with_name(f".{out.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("user_id", "receipt", "erased_at"))
            writer.writerows((erasure.user_id, erasure.receipt, erasure.at) for erasure in found)
            writer.writerows((user, "", "") for user in others)
        partial.replace(out)
    except StateUnavailable as error:
        raise InputError(f"{error}; nothing was written to {out}") from error
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; choose another --out") from error
    typer.echo(f"{len(found) + len(others)} users in {out}")


async def _erasures(url: str, *, opted_out: bool) -> tuple[list[Erasure], list[str]]:
    """All erasures, and with ``opted_out`` the other users who may not be learnt from, by id."""
    store = open_state(url)
    try:
        erasures = [erasure async for erasure in store.erasures()]
        suppressed = (await store.changes(0)).suppressed if opted_out else {}
        erased = {erasure.user_id for erasure in erasures}
        return erasures, sorted(user for user, out in suppressed.items() if out and user not in erased)
    finally:
        await store.close()


def push(
    bundle: Annotated[Path, typer.Option(help="Bundle directory.", show_default=False)],
    redis: Annotated[str, typer.Option(help="redis://… to push to.", envvar="DIFFCDR_VECTORS_URL", show_default=False)],
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds until Redis deletes them; default: never.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the vectors of all other bundles afterwards.")] = False,
) -> None:
    """Load a bundle's source vectors into Redis, for services with DIFFCDR_VECTORS=redis.

    They appear all at once or not at all. An interrupted push continues where it stopped.
    """
    reporter = Reporter()
    opened = open_bundle(bundle)
    started = time.perf_counter()
    # Loaded here alone: Redis' client library would take a quarter of the time of a start.
    pushing = importlib.import_module("service.state.push_vectors")
    with pushing.connect(redis) as client:
        done = pushing.push_vectors(opened, client, reporter=reporter, ttl=ttl, prune=prune)
    seconds = time.perf_counter() - started
    what = "were there already" if done.already_there else f"pushed in {seconds:.1f} s"
    pruned = f"; {done.pruned} keys of other bundles removed" if prune else ""
    reporter.note(f"{done.users:,} source vectors of bundle {opened.id} {what}{pruned}")
