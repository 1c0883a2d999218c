"""``diffcdr events``: exports the events that users sent, as a file for the next training."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import typer

from diffcdr.atomic import replacing_file
from diffcdr.errors import InputError
from diffcdr.list_formats import format_of, write_lists
from diffcdr.progress import Reporter
from service.state.events.kinds import KeptEvent
from service.state.exporting import Exported, export_events
from service.state.reading import open_state
from service.state.store import StateUnavailable

SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "domain": pl.String,
    "timestamp": pl.Int64,
    "type": pl.String,
    "recommendation_id": pl.String,
    "position": pl.Int64,
}
"""Columns of the file. ``rating``: null if none was given. ``timestamp``: in seconds since 1970, as the sender said,
else the beginning of the hour; null if unknown. ``recommendation_id``, ``position``: of the list that led to it."""


def events(
    action: Annotated[Literal["export"], typer.Argument(help="export: write the events to a file.")],
    state: Annotated[
        str, typer.Option(help="sqlite:FILE or redis://…", envvar="DIFFCDR_STATE_URL", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File to write, ending in .parquet, .csv or .jsonl.", show_default=False)],
    since: Annotated[
        str | None, typer.Option(help="Only events from this time on, in UTC: 2026-01-31 or 2026-01-31T18:00.")
    ] = None,
) -> None:
    """Write the events that users sent to a file, for diffcdr train --events.

    Events of users who opted out or were erased are left out. The file appears whole or not at all.
    """
    kind = format_of(out, nested=False)
    first = None if since is None else _seconds(since)
    try:
        found = asyncio.run(_read(state, first))
    except StateUnavailable as error:
        raise InputError(f"{error}; nothing was written to {out}, as it is unknown whom to leave out") from error
    try:
        with replacing_file(out) as partial:
            write_lists(_table(found.events).lazy(), partial, kind)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot write {out}: {error}; choose another --out") from error
    reporter = Reporter()
    users = len({event.user_id for event in found.events})
    reporter.note(f"{len(found.events):,} events of {users:,} users in {out}")
    if found.suppressed:
        reporter.note(f"{found.suppressed:,} of users who opted out or were erased were left out")
    if found.undated:
        reporter.note(f"{found.undated:,} were left out because their time is unknown: an earlier version stored them")


async def _read(url: str, since: float | None) -> Exported:
    store = open_state(url)
    try:
        return await export_events(store, since=since)
    finally:
        await store.close()


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--since {text!r} is not a time; write it as 2026-01-31 or 2026-01-31T18:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _table(found: list[KeptEvent]) -> pl.DataFrame:
    rows = [
        (
            event.user_id,
            event.item_id,
            event.rating,
            event.domain,
            event.at,
            event.type,
            event.recommendation_id,
            event.position,
        )
        for event in found
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
