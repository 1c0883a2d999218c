"""``diffcdr retrain``: trains again with the events of a running service, and publishes what is not worse."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from diffcdr.errors import DiffCDRError, InputError
from diffcdr.help import help_groups
from diffcdr.progress import Reporter, hint_on_interrupt
from training.commands.options import (
    Accept,
    PositiveThreshold,
    RatingRange,
    Settings,
    Source,
    SourceColumns,
    SplitBy,
    Target,
    TargetColumns,
)
from training.retrain.retraining import Retraining
from training.run.inputs import parse_rating_range
from training.train_plan import parse_threshold


@help_groups(
    {
        "Files": (
            *("bundle", "source", "target", "source_columns", "target_columns", "rating_range", "positive_threshold"),
            *("target_titles", "target_items", "accept", "reports"),
        ),
        "What users sent": ("state", "events", "exclude_users", "event_weights", "min_events"),
        "Model": ("preset", "model", "settings", "seed", "test_fraction", "split"),
        "Publishing": ("guard", "histories"),
    }
)
@hint_on_interrupt("stopped, and nothing was published")
def retrain(
    bundle: Annotated[Path, typer.Option(help="Directory of the active bundle; a better one takes its place.")],
    source: Source,
    target: Target,
    reports: Annotated[Path, typer.Option(help="Folder for one report a run, as JSON and Markdown.")],
    state: Annotated[
        str | None,
        typer.Option(
            help="State of the service, sqlite:FILE or redis://…: events, erasures and opt-outs are read from it.",
            envvar="DIFFCDR_STATE_URL",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="Instead of --state: the file that `diffcdr events export` wrote.")
    ] = None,
    exclude_users: Annotated[
        Path | None,
        typer.Option(help="Instead of --state: the file that `diffcdr erasures --opted-out` wrote."),
    ] = None,
    event_weights: Annotated[
        str | None, typer.Option(metavar="TYPE=WEIGHT,…", help="Weights of events without a rating, as for train.")
    ] = None,
    min_events: Annotated[
        int, typer.Option(min=0, help="With fewer events that count, nothing is trained and the run fails.")
    ] = 100,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard",
            help="Publish only if not worse than the active bundle on the same held-out users.",
        ),
    ] = True,
    preset: Annotated[str, typer.Option(help="Named settings, as for train.")] = "ranking",
    model: Annotated[str | None, typer.Option(help="The model to publish, as for train.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Keep it between runs: then the same users are held out.")] = 0,
    test_fraction: Annotated[float | None, typer.Option(help="Share of overlap users held out, as for train.")] = None,
    split: SplitBy = None,
    settings: Settings = None,
    source_columns: SourceColumns = None,
    target_columns: TargetColumns = None,
    rating_range: RatingRange = None,
    positive_threshold: PositiveThreshold = None,
    target_titles: Annotated[Path | None, typer.Option(help="Titles: a file with item_id and title.")] = None,
    target_items: Annotated[Path | None, typer.Option(help="Instead of --target-titles: with attributes.")] = None,
    accept: Accept = None,
    histories: Annotated[
        bool, typer.Option("--histories/--no-histories", help="Keep users' source ratings for the console.")
    ] = True,
) -> None:
    """Train again with feedback; publish what is not worse.

    Users who were erased or opted out are left out of files and events. A service that watches the directory serves
    the new bundle; else use diffcdr rollout.
    """
    if (state is None) == (events is None or exclude_users is None):
        raise InputError("give --state, or both --events and --exclude-users from where the state is")
    fit: dict[str, Any] = {
        "source": source,
        "target": target,
        "preset": preset,
        "model": model,
        "settings": settings or [],
        "seed": seed,
        "test_fraction": test_fraction,
        "split": split,
        "rating_range": parse_rating_range(rating_range),
        "positive_threshold": None if positive_threshold is None else parse_threshold(positive_threshold),
        "source_columns": source_columns,
        "target_columns": target_columns,
        "target_titles": target_titles,
        "target_items": target_items,
        # Whom the state lists need not have rated: users may be erased before the first training.
        "accept": {*(accept or ()), "unmatched-users"},
    }
    reporter = Reporter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def inputs() -> tuple[Path, Path]:
            if events is not None and exclude_users is not None:
                return events, exclude_users
            return _export(state or "", folder)

        work = Retraining(
            bundle, inputs, fit, event_weights=event_weights, min_events=min_events, guard=guard, histories=histories
        )
        report = work.run(reporter.note)
    for note in report.notes:
        reporter.warn(note)
    _, page = report.write(reports)
    reporter.note(f"wrote {page}")
    if report.outcome == "failed":
        raise DiffCDRError(f"nothing was published: {report.reason}")
    reporter.note(f"{report.outcome}: {report.reason}")


def _export(state: str, folder: Path) -> tuple[Path, Path]:
    """Events and the users to leave out, written to ``folder`` by the commands of the service.

    In processes of their own, since training imports nothing of the service.

    Raises:
        DiffCDRError: one of them failed; it has said why.
    """
    events, excluded = folder / "events.parquet", folder / "excluded.csv"
    for words in (("events", "export", "--out", str(events)), ("erasures", "--opted-out", "--out", str(excluded))):
        # By the environment, as other users of the machine can read a command line, which a password may be in.
        done = subprocess.run(
            [sys.executable, "-m", "diffcdr", *words],
            env={**os.environ, "DIFFCDR_STATE_URL": state},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            reason = said[0].removeprefix("error: ") if said else f"it ended with status {done.returncode}"
            raise DiffCDRError(f"diffcdr {words[0]}: {reason} (nothing was trained)")
    return events, excluded
