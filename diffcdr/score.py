"""Offline bulk scoring: the lists of the service for a file of users, as one file.

Users are worked through in parts of about ``PART_ROWS`` rows. Each part is written to a directory beside the output
and moved into place when it is complete, so that memory stays bounded and an interrupted run can go on; at the end
the parts are streamed into one file, which appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
from threadpoolctl import threadpool_limits

from diffcdr.atomic import replacing_file
from diffcdr.bundle.reader import Bundle
from diffcdr.device.names import Device
from diffcdr.errors import InputError
from diffcdr.files.users import closest
from diffcdr.list_formats import ListFormat, format_of, write_lists
from diffcdr.live_state import LiveState
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import BATCH_USERS, ScoreOptions, Scorer, decode_ids
from diffcdr.recommend.recommender import Recommender

PART_ROWS = 1_000_000
COMPILED_USERS = 50_000
"""From how many users on it pays to load compiled loops, where there are any."""
PLAN_FILE = "plan.json"
_COMPARED_USERS = 2_000_000
"""With more users than this a bundle's ids are not gone through to guess why a list does not match."""


@dataclass(frozen=True)
class ScoreRequest:
    """What a command passes to an engine.

    ``users``: ids, None for every source user of the bundle. ``resume``: go on with what an interrupted run left.
    ``opted_out``: ids of users who opted out or are to be forgotten: they get the popular list. ``state``: what the
    service's state says; its withdrawn items are in no list, and its suppressed users get the popular list.
    """

    users: pl.Series | None
    options: ScoreOptions
    resume: bool = False
    opted_out: pl.Series | None = None
    state: LiveState | None = None

    @property
    def away(self) -> pl.Series | None:
        """Ids of all users who get the popular list, whatever is known of them; None for none."""
        return self.opted_out if self.state is None else self.state.away(self.opted_out)


@dataclass(frozen=True)
class ScoreReport:
    """The result of a run. ``strategies``: number of users per strategy."""

    users: int
    rows: int
    parts_reused: int
    strategies: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """Everything the parts depend on: a run can only resume with parts of the same plan."""

    bundle: str
    users: str
    k: int
    exclude_seen: bool
    layout: str
    diversity: float
    part_users: int
    opted_out: str | None = None
    titles: bool = False
    filter: str | None = None
    state: str | None = None
    caps: dict[str, int] | None = None


def score_users(  # noqa: PLR0913 - everything that a run depends on
    recommender: Recommender,
    users: pl.Series,
    out: Path,
    *,
    options: ScoreOptions,
    reporter: Reporter,
    resume: bool = False,
    threads: int = 1,
    opted_out: pl.Series | None = None,
    state: LiveState | None = None,
) -> ScoreReport:
    """Write the ranked lists of ``users`` to ``out``, in the order of ``users``.

    The result depends on the bundle, the users and the options alone: neither on ``threads`` nor on interruptions.

    Args:
        recommender: answers for its bundle; users it does not know get the popular list.
        users: ids, as strings (:func:`diffcdr.files.users.read_users`, :func:`all_users`).
        out: the file to write, in the format of its ending; replaced in one step when everything is done.
        options: list length and layout.
        reporter: told about progress.
        resume: go on with the parts that an interrupted run left.
        threads: batches scored at the same time.
        opted_out: ids of users who opted out or are to be forgotten: they get the popular list.
        state: what the service's state says about items; ``opted_out`` has the users.

    Raises:
        InputError: nothing to score, ``out`` has no known ending or cannot be written, the parts there are of another
            run, titles are wanted of a bundle without, or an option is out of its range.
    """
    kind = format_of(out, nested=options.layout == "lists")
    plan = make_plan(recommender.bundle.id, users, options, opted_out=opted_out, state=state)
    scorer = Scorer(recommender, options, opted_out=opted_out, changes=None if state is None else state.changes)
    parts = _open_parts(out, plan, resume=resume)
    reused = 0
    writing: Future[None] | None = None
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(max_workers=threads) as pool,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer,
        reporter.task("Scoring", total=len(users), unit="users") as task,
    ):
        for number, start in enumerate(range(0, len(users), plan.part_users)):
            part = parts / f"{number:06}.parquet"
            chosen = users.slice(start, plan.part_users)
            if part.exists():
                reused += 1
                task.advance(len(chosen))
                continue
            batches = [chosen.slice(first, BATCH_USERS) for first in range(0, len(chosen), BATCH_USERS)]
            frames = []
            for batch, frame in zip(batches, pool.map(scorer, batches), strict=True):
                frames.append(frame)
                task.advance(len(batch))
            # One part is written while the next is scored; a third waits, so that memory stays bounded.
            if writing is not None:
                writing.result()
            writing = writer.submit(_write_whole, pl.concat(frames).lazy(), part)
        if writing is not None:
            writing.result()
    written = pl.scan_parquet(sorted(parts.glob("*.parquet")), glob=False)
    _write_whole(written, out, kind)
    report = _report(written, options, users=len(users), reused=reused)
    shutil.rmtree(parts)
    return report


def recommender_for(users: int, bundle: Bundle, *, device: Device, search_device: Device = "auto") -> Recommender:
    """A recommender for so many ``users`` of ``bundle``, with compiled loops if they are installed and pay off."""
    recommender = Recommender(bundle, device=device, search_device=search_device)
    if users >= COMPILED_USERS:
        recommender.compile()
    return recommender


def all_users(recommender: Recommender) -> pl.Series:
    """Every source user of the bundle, in id order."""
    return decode_ids(recommender.bundle.source_users.ids.array)


def say_found(bundle: Bundle, asked: ScoreRequest, *, reporter: Reporter) -> None:
    """Note for each list of users that ``asked`` holds how many of them ``bundle`` knows.

    Raises:
        InputError: one holds users, and the bundle knows none of them.
    """
    for option, listed in (("--users", asked.users), ("--opted-out", asked.opted_out)):
        if listed is not None:
            reporter.note(found_in(bundle, listed, option=option))


def found_in(bundle: Bundle, listed: pl.Series, *, option: str) -> str:
    """A sentence that says how many of the ``listed`` users ``bundle`` knows; ``option`` named them.

    Raises:
        InputError: there are some, and it knows none: most probably they are written otherwise.
    """
    ids = listed.to_list()
    known = bundle.source_users.ids.rows(ids) >= 0
    if bundle.target_users is not None:
        known |= bundle.target_users.ids.rows(ids) >= 0
    text = f"{option}: {len(ids):,} ids, {int(known.sum()):,} found in the bundle"
    if known.all() or not ids:
        return text
    table = bundle.source_users.ids
    everybody = decode_ids(table.array).to_list() if len(table) <= _COMPARED_USERS else []
    hint = closest([text for text, there in zip(ids, known.tolist(), strict=True) if not there], everybody)
    text += f"; {hint}" if hint else ""
    if not known.any():
        asked, there = (", ".join(map(repr, each[:2])) for each in (ids, everybody))
        raise InputError(
            f"{text}: the list has users such as {asked}, the bundle {there or 'others'}; "
            "check which list and which bundle they are"
        )
    return text


def make_plan(
    bundle_id: str,
    users: pl.Series,
    options: ScoreOptions,
    *,
    opted_out: pl.Series | None,
    state: LiveState | None = None,
) -> Plan:
    """The plan for the lists of ``users``.

    Raises:
        InputError: there is nothing to score.
    """
    if options.k < 1:
        raise InputError("k must be at least 1")
    if not len(users):
        raise InputError("there are no users to score; give a file with at least one user id")
    return Plan(
        bundle=bundle_id,
        users=_digest(users),
        k=options.k,
        exclude_seen=options.exclude_seen,
        layout=options.layout,
        diversity=options.diversity,
        part_users=max(BATCH_USERS, PART_ROWS // options.k),
        opted_out=None if opted_out is None else _digest(opted_out.sort()),
        titles=options.titles,
        filter=None
        if options.filter is None
        else hashlib.sha256(options.filter.model_dump_json().encode()).hexdigest(),
        state=None if state is None else state.digest(options.filter),
        caps=dict(options.caps) or None,
    )


def _digest(ids: pl.Series) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(ids), PART_ROWS):
        digest.update("\n".join(ids.slice(start, PART_ROWS).to_list()).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _open_parts(out: Path, plan: Plan, *, resume: bool) -> Path:
    """The directory for this run's parts: those of an interrupted run of the same plan, or an empty one."""
    parts = out.parent / f".{out.name}.parts"
    plan_file = parts / PLAN_FILE
    content = json.dumps(asdict(plan), indent=2)
    with _writing(out, "choose another --out"):
        if resume and plan_file.exists():
            if plan_file.read_text() != content:
                raise InputError(
                    f"{parts} is of another bundle, other users, other options or another state; "
                    "repeat the options of the interrupted run, or leave out --resume to start over"
                )
        else:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
            plan_file.write_text(content)
    return parts


def _write_whole(frame: pl.LazyFrame, path: Path, kind: ListFormat = "parquet") -> None:
    """Stream ``frame`` to ``path`` so that it is there whole or not at all."""
    with _writing(path), replacing_file(path) as staging:
        write_lists(frame, staging, kind)


@contextmanager
def _writing(out: Path, remedy: str = "make room and go on with --resume, or choose another --out") -> Iterator[None]:
    """Turn what the system says while ``out`` is written into an InputError with ``remedy``."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:  # polars wraps some of what the system says
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot write {out}: {reason}; {remedy}") from error


def _report(written: pl.LazyFrame, options: ScoreOptions, *, users: int, reused: int) -> ScoreReport:
    one_per_user = written.filter(pl.col("rank") == 1) if options.layout == "long" else written
    counts = one_per_user.group_by("strategy").len().collect()
    rows = written.select(pl.len()).collect().item()
    strategies = dict(zip(counts["strategy"].to_list(), counts["len"].to_list(), strict=True))
    return ScoreReport(users=users, rows=rows, parts_reused=reused, strategies=strategies)
