"""Bench ``serve``: the service on one core, with the load on another, against FastAPI alone and against its limits.

The bundle is drawn: cold users, an affine transfer, 64,443 items x 10, lists of 20; no user is asked for twice. Rows of
the first kind compare rates, ours over bare FastAPI's. Rows of the second kind hold a figure that should be small to
its limit, and their ratio is limit over figure: 1 is the limit, more is better.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Row, Size, limit_row
from bench.serving.load import REFUSED, Outcome, Target, closed_loop, open_loop, request, run
from bench.serving.processes import Served, bare, serving
from diffcdr.errors import DiffCDRError

NAME = "serve"
ITEMS, USERS, K = 64_443, 200_000, 20
START_USERS, START_ITEMS = 604_000, 368_000
LOADED_SECONDS = 2.0
"""How long after it is ready a service has loaded its compiled loops."""
PATH = "/v1/recommendations"
CONNECTIONS = 32
"""In flight where the most is looked for: as many as the service takes into work."""


@dataclass(frozen=True)
class Plan:
    """How long each part takes, in seconds, and how often the rates are compared."""

    turns: int
    turn: float
    half: float
    overload: float
    reload: float
    stop: float


PLANS: dict[Size, Plan] = {
    "full": Plan(turns=3, turn=3.0, half=15.0, overload=30.0, reload=8.0, stop=4.0),
    "short": Plan(turns=3, turn=1.0, half=3.0, overload=3.0, reload=3.0, stop=2.0),
}


def bench(size: Size) -> Iterator[Row]:
    """All rows; the floors are those of a busy machine."""
    plan = PLANS[size]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise DiffCDRError("bench serve needs two processor cores, one for the service and one for the load")
    with tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, set(cores[1:]))
        try:
            yield from _one_core(Path(folder), plan, core=cores[0])
            if size == "full":
                yield _start(Path(folder))
        finally:
            os.sched_setaffinity(0, set(cores))


_limited = partial(limit_row, NAME, floor=None)


def cold_requests() -> Iterator[bytes]:
    """One request after the other, each for another user."""
    while True:
        for number in range(USERS):
            yield request("POST", PATH, json.dumps({"user_id": f"u{number:07d}", "k": K}).encode())


def _one_core(folder: Path, plan: Plan, *, core: int) -> Iterator[Row]:
    write_drawn_bundle(folder / "bundle", users=USERS, items=ITEMS)
    write_drawn_bundle(folder / "other", users=USERS, items=ITEMS - 1)
    with serving(folder / "bundle", core=core, DIFFCDR_BUNDLE_ROOT=str(folder)) as served:
        time.sleep(LOADED_SECONDS)
        target = Target(served.port, cold_requests())
        answer = folder / "answer.json"
        answer.write_bytes(served.ask("POST", PATH, b'{"user_id": "u0000000", "k": 20}'))
        with bare(answer, core=core) as plain:
            ours, baseline = _rates(target, Target(plain.port, cold_requests()), plan)
        yield Row(NAME, f"cold users, {CONNECTIONS} in flight", ours, baseline, ours / baseline, 0.35, "requests/s")
        half = run(open_loop(target, rate=ours / 2, seconds=plan.half))
        yield _limited("p99 at half the load", figure=half.percentile(0.99) * 1e3, limit=10.0, unit="ms")
        yield _limited("p99 by which the load itself was late", figure=half.lateness(0.99) * 1e3, limit=1.0, unit="ms")
        yield from _overload(served, target, plan, most=ours, half=half)
        yield from _reload(served, target, plan, rate=ours / 2, half=half)
        yield _stop(served, target, plan, rate=ours / 2)


def _rates(target: Target, plain: Target, plan: Plan) -> tuple[float, float]:
    """Requests a second of the service and of FastAPI alone, in turns; the first turn is not counted."""
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(plan.turns + 1):
        for each, measured in zip((target, plain), rates, strict=True):
            outcome = run(closed_loop(each, connections=CONNECTIONS, seconds=plan.turn))
            _refuse_failures(outcome, "as many requests as it answers")
            if turn:
                measured.append(outcome.rate)
    return statistics.median(rates[0]), statistics.median(rates[1])


def _overload(served: Served, target: Target, plan: Plan, *, most: float, half: Outcome) -> Iterator[Row]:
    """Twice what it can do, then half of it again one second later."""
    before = served.anonymous_mb()
    early: list[float] = []
    load = open_loop(target, rate=2 * most, seconds=plan.overload)
    outcome = run(_while(load, lambda: early.append(served.anonymous_mb()), after=plan.overload / 5))
    _refuse_failures(outcome, "twice the load that it can answer")
    after = served.anonymous_mb()
    refused = outcome.statuses[503] / outcome.statuses.total()
    case = f"p99 of the admitted at twice the load, {refused:.0%} sent away, {outcome.rate:,.0f} a second answered"
    limit = 4 * half.percentile(0.99) * 1e3
    yield _limited(case, figure=outcome.percentile(0.99) * 1e3, limit=limit, unit="ms")
    case = f"memory after it, against a fifth of it; {before:.0f} MB before"
    yield _limited(case, figure=after, limit=early[0] * 1.02, unit="MB")
    run(asyncio.sleep(1.0))
    again = run(open_loop(target, rate=most / 2, seconds=plan.stop))
    _refuse_failures(again, "half the load, a second after twice the load")
    limit = 2 * half.percentile(0.99) * 1e3
    yield _limited("p99 a second after", figure=again.percentile(0.99) * 1e3, limit=limit, unit="ms")


def _reload(served: Served, target: Target, plan: Plan, *, rate: float, half: Outcome) -> Iterator[Row]:
    """Load a second bundle and switch to it, under half the load."""

    def change() -> None:
        loaded = json.loads(served.ask("POST", "/v1/admin/models/load", b'{"path": "other"}'))
        served.ask("POST", "/v1/admin/models/activate", json.dumps({"model": loaded["id"]}).encode())

    outcome = run(_while(open_loop(target, rate=rate, seconds=plan.reload), change, after=plan.reload / 4))
    _refuse_failures(outcome, "a reload under load", refusals=False)
    limit = 2 * half.percentile(0.99) * 1e3
    yield _limited("p99 while another bundle is loaded", figure=outcome.percentile(0.99) * 1e3, limit=limit, unit="ms")


def _stop(served: Served, target: Target, plan: Plan, *, rate: float) -> Row:
    """SIGTERM under half the load: whoever was accepted is answered."""
    outcome = run(_while(open_loop(target, rate=rate, seconds=plan.stop), served.terminate, after=plan.stop / 4))
    _refuse_failures(outcome, "SIGTERM under load")
    answered, sent_away = outcome.statuses[200], outcome.statuses[503]
    accepted = outcome.statuses.total() - outcome.statuses[REFUSED] - sent_away
    case = f"answered of those accepted, through SIGTERM; {sent_away} sent away with Retry-After"
    return Row(NAME, case, float(answered), float(accepted), answered / accepted, 1.0, "requests")


async def _while(load: Awaitable[Outcome], action: Callable[[], Any], *, after: float) -> Outcome:
    """``load``, with ``action()`` in a thread of its own ``after`` seconds from its beginning."""

    async def act() -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(action)

    outcome, _ = await asyncio.gather(load, act())
    return outcome


def _refuse_failures(outcome: Outcome, what: str, *, refusals: bool = True) -> None:
    """Raise DiffCDRError where requests failed, were turned away without a word, or, if so wanted, at all."""
    refused = 0 if refusals else outcome.statuses[503]
    if outcome.failed or outcome.without_retry_after or refused:
        raise DiffCDRError(
            f"{what}: of {outcome.statuses.total():,} requests {outcome.failed:,} failed, {refused:,} got 503 and "
            f"{outcome.without_retry_after:,} of the refused no Retry-After ({dict(outcome.statuses)}); "
            "this is a defect, report it"
        )


def _start(folder: Path) -> Row:
    """From the start of the process to a ready service, with as many users and items as the paper's task 3."""
    path = folder / "large"
    write_drawn_bundle(path, users=START_USERS, items=START_ITEMS)
    seconds, memory = [], []
    for _ in range(3):
        with serving(path, core=None) as served:
            seconds.append(served.started)
            time.sleep(LOADED_SECONDS)
            memory.append(served.anonymous_mb())
    case = (
        f"start to ready, {START_USERS:,} users, {START_ITEMS:,} items; {max(memory):,.0f} MB beyond the mapped tables"
    )
    return _limited(case, figure=statistics.median(seconds), limit=2.0, unit="s")
