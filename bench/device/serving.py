"""Bench ``serving``, on a GPU alone: what a service and bulk scoring do there, from host memory to host memory.

Ours is the product on the GPU, the other side the product on this machine's processor.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from bench.device.drawn import silu_graph
from bench.drawn_bundle import write_drawn_bundle
from bench.harness import Comparison, Row, Size, make_row
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.placement import place
from diffcdr.progress import Reporter
from diffcdr.recommend.cuda_transfer import CUDA_ROWS
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.recommend.recommender import Recommender
from diffcdr.recommend.transfer import load_transfer
from diffcdr.score import all_users, recommender_for, score_users
from diffcdr.search.device_search import DeviceTopK
from diffcdr.search.topk import MaskedRows, TopK

NAME = "serving"
ITEMS, K, THREADS = 64_443, 20, 16
REQUESTS = 300


def serving_rows(size: Size, *, device: torch.device) -> Iterator[Row]:
    """Transfers, searches, a file of lists, and single users over HTTP."""
    gpu, full = str(device), size == "full"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        write_drawn_bundle(path, users=1_000_000 if full else 2_048, items=ITEMS if full else 5_000, graph=silu_graph())
        bundle = open_bundle(path, verify=False)
        yield from _transfers(bundle, gpu)
        yield from _searches(gpu, full=full)
        yield _file(bundle, Path(folder), gpu)
        yield _over_http(path, gpu)


def _row(case: str, ours: Callable[[], object], plain: Callable[[], object], amounts: tuple[int, int]) -> Row:
    return Comparison(
        NAME, case, ours, plain, amounts[0], "users/s", None, amounts[1], repeats=3, clock=time.perf_counter
    ).run()


def _transfers(bundle: Bundle, gpu: str) -> Iterator[Row]:
    here, there = load_transfer(bundle, device="cpu"), load_transfer(bundle, device=gpu)
    source = bundle.source_users.vectors
    few = source[:CUDA_ROWS]
    for users in (1, CUDA_ROWS, len(source)):
        part = np.ascontiguousarray(source[:users])
        case = f"SiLU, NFE 30, {users:,} users through ONNX Runtime"
        yield _row(case, lambda part=part: there(part), lambda: here(few), (users, len(few)))  # type: ignore[misc]


def _searches(gpu: str, *, full: bool) -> Iterator[Row]:
    cases = [(ITEMS, 10, 256, 0), (ITEMS, 10, 16_384, 0), (ITEMS, 10, 16_384, 100), (ITEMS, 64, 16_384, 0)]
    for items, dim, users, masked in [*cases, (1_000_000, 64, 2_048, 0)] if full else [(5_000, 10, 64, 3)]:
        rng = np.random.default_rng(0)
        vectors, queries = (rng.standard_normal((n, dim), dtype=np.float32) for n in (items, users))
        biases = np.zeros(items, dtype=np.float32)
        exact = TopK(vectors, biases, typical_norm=float(np.sqrt(dim)))
        there = DeviceTopK(
            exact, (vectors, biases), place(gpu), health=DeviceHealth(), sample=queries[:256], forced=True
        )
        there.compile()
        seen = rng.integers(items, size=(users, masked), dtype=np.int32)
        mask, few = (MaskedRows.pack(list(part)) if masked else None for part in (seen, seen[:256]))
        yield _row(
            f"top {K} of {items:,} x {dim}, {users:,} users, {masked} masked, one thread",
            lambda: there.search(queries, K, masked=mask),  # noqa: B023 - called in this turn
            lambda: exact.search(queries[:256], K, masked=few),  # noqa: B023
            (users, min(users, 256)),
        )


def _file(bundle: Bundle, folder: Path, gpu: str) -> Row:
    silent = Reporter(Console(file=io.StringIO()))
    here = recommender_for(1_000_000, bundle, device="cpu")
    there = recommender_for(1_000_000, bundle, device=gpu)
    everyone = all_users(here)
    few = everyone[:100_000]

    def written(recommender: Recommender, name: str, everybody: bool) -> Callable[[], object]:
        users = everyone if everybody else few
        out, options = folder / name, ScoreOptions(k=K)
        return lambda: score_users(recommender, users, out, options=options, reporter=silent, threads=THREADS)

    case = f"score to Parquet, SiLU, {len(here.bundle.target_items.ids):,} items, {len(everyone):,} users"
    return _row(
        f"{case}, {THREADS} threads",
        written(there, "there.parquet", True),
        written(here, "here.parquet", False),
        (len(everyone), len(few)),
    )


def _over_http(bundle: Path, gpu: str) -> Row:
    """Requests a second of one caller who waits for each answer: the reciprocal of the median time."""
    seconds = {device: _median_seconds(bundle, device) for device in ("cpu", gpu)}
    case = f"one user over HTTP, p50 {seconds[gpu] * 1e3:.2f} ms there and {seconds['cpu'] * 1e3:.2f} ms here"
    return make_row(NAME, case, ours=1.0 / seconds[gpu], baseline=1.0 / seconds["cpu"], floor=None, unit="requests/s")


def _median_seconds(bundle: Path, device: str) -> float:
    program = "import sys; from diffcdr.cli import main; main(sys.argv[1:])"
    port = "18765" if device == "cpu" else "18766"
    command = [sys.executable, "-c", program, "serve", "--bundle", str(bundle), "--port", port, "--device", device]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(address, process)
        taken = []
        for number in range(REQUESTS):
            body = json.dumps({"user_id": f"u{number:07}", "k": K}).encode()
            request = urllib.request.Request(
                f"{address}/v1/recommendations", body, {"content-type": "application/json"}
            )
            started = time.perf_counter()
            urllib.request.urlopen(request, timeout=10).read()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken[REQUESTS // 4 :])
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/readyz", timeout=1)
            return
        except OSError:
            if process.poll() is not None:
                said = process.stderr.read().decode()[-500:] if process.stderr is not None else ""
                raise RuntimeError(f"the service ended with status {process.returncode}: {said}") from None
            time.sleep(0.1)
    raise RuntimeError("the service was not ready within a minute")
