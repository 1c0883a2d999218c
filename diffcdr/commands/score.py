"""``diffcdr score``: ranked lists for many users, from file to file."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import polars as pl
import typer

from diffcdr.bundle.reader import open_bundle
from diffcdr.commands.engines import EngineOption, MasterOption, SparkConfOption, load_engine
from diffcdr.device.names import Device, parse_device
from diffcdr.errors import InputError
from diffcdr.files.encodings import known_encoding
from diffcdr.files.users import read_users
from diffcdr.filtering.caps import parse_caps
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.help import help_groups
from diffcdr.list_formats import format_of
from diffcdr.live_state import LiveState, read_live_state
from diffcdr.progress import Reporter, amount, hint_on_interrupt
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.score import ScoreReport, ScoreRequest, all_users, recommender_for, say_found, score_users

BundleOption = Annotated[
    str, typer.Option(help="Bundle directory; with --engine spark also a URL.", show_default=False)
]
UsersOption = Annotated[
    str,
    typer.Option(
        help="File with the users: Parquet, JSON, CSV or TSV with a column user_id, or text with one id a line. "
        "'all' takes every source user, '-' reads standard input.",
        show_default=False,
    ),
]
OutOption = Annotated[
    str,
    typer.Option(
        help="File to write, .parquet, .csv or .jsonl; with --engine spark a folder or URL of Parquet files.",
        show_default=False,
    ),
]
STANDARD_INPUT = Path("-")
MOSTLY = 0.9
"""From this share of users without a personal list on, the ids are likely to be of something else."""


@help_groups(
    {
        "Files": ("bundle", "users", "out", "opted_out", "state", "encoding"),
        "Lists": ("k", "lists", "titles", "include_seen", "diversity", "filter", "caps"),
        "Work": ("resume", "device", "search_device", "threads", "engine", "master", "spark_conf"),
    }
)
@hint_on_interrupt("stopped; the same command with --resume goes on where this stopped")
def score(
    bundle: BundleOption,
    users: UsersOption,
    out: OutOption,
    k: Annotated[int, typer.Option("--k", min=1, help="Items per user.")] = 20,
    lists: Annotated[bool, typer.Option("--lists", help="One row per user, with lists, not one row per item.")] = False,
    titles: Annotated[bool, typer.Option("--titles", help="Write the title of each item too.")] = False,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Keep items that the user has rated already.")
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Above 0, personal lists become less repetitive."),
    ] = 0.0,
    filter: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='Which items lists may hold, such as \'{"where": {"price": {"lt": 20}}}\'.'),
    ] = None,
    caps: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="At most so many items of a list share a value, such as '{\"genre\": 3}'."),
    ] = None,
    opted_out: Annotated[
        Path | None,
        typer.Option(help="Users who opted out or asked to be forgotten: they get the popular list."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="DIFFCDR_STATE_URL",
            show_envvar=True,
            help="The service's state, sqlite:FILE or redis://…: withdrawn items are in no list, and users who opted "
            "out or were erased get the popular list.",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of lists of users that are not UTF-8, such as latin-1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    device: Annotated[
        Device,
        typer.Option(
            parser=parse_device, metavar="DEVICE", help="Where a transfer graph runs: auto, cpu, cuda or cuda:N."
        ),
    ] = "auto",
    search_device: Annotated[
        Device,
        typer.Option(parser=parse_device, metavar="DEVICE", help="Where items are searched; auto uses the faster one."),
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Batches at a time.", show_default="one per core")] = None,
    engine: EngineOption = "local",
    master: MasterOption = None,
    spark_conf: SparkConfOption = None,
) -> None:
    """Recommend to many users at once, and write a ranked list for each to a file.

    The lists are those of the service. Users that the bundle does not know get the popular list, labelled as such.
    """
    reporter = Reporter()
    listed = None if users == "all" else Path(users)
    if "://" not in out and Path(out).resolve() in (given.resolve() for given in (listed, opted_out) if given):
        raise InputError(f"--out {out} is also the input file, and would be overwritten; choose another")
    if engine == "local":
        format_of(Path(out), nested=lists)  # before the users are read
    codec = None if encoding is None else known_encoding(encoding, option="--encoding")
    ids = None if listed is None else _read(reporter, listed, codec)
    asked = ScoreRequest(
        users=ids,
        options=ScoreOptions(
            k=k,
            exclude_seen=not include_seen,
            layout="lists" if lists else "long",
            diversity=diversity,
            titles=titles,
            filter=None if filter is None else ItemFilter.parse(filter),
            caps=parse_caps(caps),
        ),
        resume=resume,
        opted_out=None if opted_out is None else _read(reporter, opted_out, codec),
        state=_state(reporter, state),
    )
    if engine == "spark":
        if search_device != "auto":
            raise InputError("--search-device applies to this machine alone; leave it out with --engine spark")
        on_spark = load_engine("spark", "score")
        report = on_spark(
            bundle, out, asked, device=device, reporter=reporter, master=master, settings=spark_conf or []
        )
    else:
        report = _score_here(
            Path(bundle),
            Path(out),
            asked,
            devices=(device, search_device),
            reporter=reporter,
            threads=threads or len(os.sched_getaffinity(0)),
        )
    _warn_of_unknown(reporter, report, asked)
    if not report.rows:
        reporter.warn("all lists are empty: the filter allows no item, or none that it allows is available")
    by_strategy = ", ".join(f"{count:,} {strategy}" for strategy, count in sorted(report.strategies.items()))
    reporter.note(f"wrote {amount(report.rows, 'rows')} for {amount(report.users, 'users')} ({by_strategy}) to {out}")


def _score_here(
    bundle: Path, out: Path, asked: ScoreRequest, *, devices: tuple[Device, Device], reporter: Reporter, threads: int
) -> ScoreReport:
    opened = open_bundle(bundle)
    say_found(opened, asked, reporter=reporter)
    count = len(opened.source_users.ids) if asked.users is None else len(asked.users)
    recommender = recommender_for(count, opened, device=devices[0], search_device=devices[1])
    return score_users(
        recommender,
        all_users(recommender) if asked.users is None else asked.users,
        out,
        options=asked.options,
        reporter=reporter,
        resume=asked.resume,
        threads=threads,
        opted_out=asked.away,
        state=asked.state,
    )


def _state(reporter: Reporter, url: str | None) -> LiveState | None:
    if not url:
        return None
    found = read_live_state(url)
    withdrawn = sum(change.available is False for change in found.changes.entries.values())
    without = amount(len(found.suppressed), "users")
    reporter.note(f"--state: {amount(withdrawn, 'withdrawn items')}; {without} without personal lists")
    return found


def _warn_of_unknown(reporter: Reporter, report: ScoreReport, asked: ScoreRequest) -> None:
    if asked.users is None:
        return
    gone = asked.away
    away = 0 if gone is None else int(asked.users.is_in(gone.implode()).sum())
    unknown = report.strategies.get("popular", 0) - away
    if unknown and unknown >= MOSTLY * (report.users - away):
        reporter.warn(
            f"the bundle does not know {unknown:,} of {report.users:,} users and gave them the popular list; "
            f"are ids such as {asked.users[0]!r} those of the files it was trained on?"
        )


def _read(reporter: Reporter, path: Path, encoding: str | None) -> pl.Series:
    if path == STANDARD_INPUT:
        with TemporaryDirectory(prefix="diffcdr-") as folder:
            spooled = Path(folder) / "standard-input"
            with spooled.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            return _read(reporter, spooled, encoding)
    ids, left_out = read_users(path, encoding=encoding)
    if left_out:
        reporter.note(f"{path}: {left_out:,} empty or repeated user ids left out")
    return ids
