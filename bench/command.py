"""``diffcdr bench``: measure what the documentation claims, each figure against a reference implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from threadpoolctl import threadpool_limits

from bench.benches import BENCHES, FULL_ONLY, SWEPT
from bench.curves import draw
from bench.device.device import DeviceName, find_device
from bench.device.rows import DEVICE_BENCHES
from bench.harness import Bench, Row, Size, figure
from bench.serving import soak
from diffcdr.errors import DiffCDRError, InputError
from diffcdr.progress import Reporter, make_table
from training.config import nearest
from training.experiment.results import ResultsFile


def bench(
    name: Annotated[str, typer.Argument(help=f"What to measure: {', '.join(BENCHES)}, or all.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Less data: a minute for all, two for scale or soak.")] = False,
    figures: Annotated[
        Path | None,
        typer.Option("--figure", metavar="DIR", help=f"Draw sweeps as DIR/NAME.svg: {', '.join(SWEPT)}."),
    ] = None,
    device: Annotated[
        DeviceName, typer.Option(help=f"Device; cuda is for {', '.join(DEVICE_BENCHES)}, and measures other cases.")
    ] = "cpu",
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a ratio is below its floor.")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.5, help="How long soak lasts. [20; with --short 2]", show_default=False)
    ] = None,
) -> None:
    """Measure our implementation and a reference alternately, on one thread; the ratio is ours over the reference."""
    if figures is not None and (short or device != "cpu" or name not in {*SWEPT, "all"}):
        raise InputError(
            f"--figure draws sweeps, which only the full forms of {', '.join(SWEPT)} on the processor have: "
            "name one of them, or all"
        )
    reporter = Reporter()
    shown: list[Row] = []
    for row in measure(name, "short" if short else "full", device=device, minutes=minutes, reporter=reporter):
        shown.append(row)
        if as_json:
            typer.echo(row.as_json())
    if not as_json:
        Console().print(make_table("Ours against the reference", *rows_table(shown)))
    if figures is not None:
        for each, text in draw(shown).items():
            reporter.note(f"wrote {ResultsFile(figures).write_text(f'{each}.svg', text)}")
    missed = [row for row in shown if not row.holds]
    if check and missed:
        raise DiffCDRError(f"below their floors: {'; '.join(map(shortfall, missed))}")


def measure(
    name: str, size: Size, *, device: DeviceName = "cpu", minutes: float | None = None, reporter: Reporter
) -> Iterator[Row]:
    """Rows of the bench ``name``, or of ``all``, as they are measured; ``minutes`` says how long a soak lasts.

    Raises:
        DeviceError: the device is not there.
        InputError: there is no such bench, it does not run on the device, or cannot last ``minutes``.
    """
    if name not in {*BENCHES, *DEVICE_BENCHES, "all"}:
        raise InputError(f"there is no bench {name!r}{nearest(name, BENCHES)}; benches are: {', '.join(BENCHES)}, all")
    if minutes is not None and name != soak.NAME:
        raise InputError(f"--minutes is for bench {soak.NAME}; leave it out, or name that one")
    chosen = _chosen(name, size) if device == "cpu" else _chosen_on(name, find_device(device))
    if minutes is not None:
        chosen[name] = lambda _: soak.soak(minutes)
    # One thread on either side: per-core figures, which do not depend on what else the other cores do.
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        for each, bench_of in chosen.items():
            with reporter.task(f"bench {each}", unit="cases") as task:
                for row in bench_of(size):
                    task.advance(ratio=row.ratio)
                    yield row


def _chosen(name: str, size: Size) -> dict[str, Bench]:
    if name not in BENCHES and name != "all":
        raise InputError(f"bench {name} runs on a GPU only; add --device cuda")
    if name != "all":
        return {name: BENCHES[name]}
    return {each: rows for each, rows in BENCHES.items() if size == "full" or each not in FULL_ONLY}


def _chosen_on(name: str, device: torch.device) -> dict[str, Bench]:
    if name not in {*DEVICE_BENCHES, "all"}:
        raise InputError(
            f"bench {name} runs on the processor only; for --device name {', '.join(DEVICE_BENCHES)}, or all"
        )
    return {each: partial(rows, device=device) for each, rows in DEVICE_BENCHES.items() if name in {each, "all"}}


def rows_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells for people."""
    columns = ["case", "ours", "plain", "unit", "ratio", "floor"]
    cells = [
        [
            f"{row.bench}: {row.case}",
            figure(row.ours),
            figure(row.baseline),
            row.unit,
            figure(row.ratio),
            "" if row.floor is None else figure(row.floor),
        ]
        for row in rows
    ]
    return columns, cells


def shortfall(row: Row) -> str:
    """What is wrong with a row below its floor."""
    return f"{row.bench}, {row.case}: {figure(row.ratio)} < {figure(row.floor or 0.0)}"
