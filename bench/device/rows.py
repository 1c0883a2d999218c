"""``diffcdr bench transfer|topk|train --device cuda``: ours and plain torch, both on the device.

Tables and users are on the device before the clock runs, and results stay there, as in a pipeline that goes on with
them. Time is that of the clock on the wall, until the device is done. No floors: they are set where one can measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.device import serving
from bench.device.device import Replayed, finished
from bench.device.topk import DeviceTopK
from bench.device.train import DeviceUpdates
from bench.harness import Comparison, Row, Size, check_equal
from bench.search import topk
from bench.training import train, transfer
from diffcdr.search.topk import MaskedRows
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, folder, solver_plan

CHUNK = 1 << 16
"""Users at a time in the solver: its hidden layers then take some 100 MB, and a graph is recorded for one size."""
PLAIN_USERS = 4_096


class DeviceBench(Protocol):
    """Measures rows on ``device``, one after the other."""

    def __call__(self, size: Size, /, *, device: torch.device) -> Iterator[Row]:
        """The rows of ``size``."""
        ...


def transfer_rows(size: Size, *, device: torch.device) -> Iterator[Row]:
    """The folded map and the solver with SiLU, on a million users and more."""
    yield affine(users=10_000_000 if size == "full" else 100_000, nfe=30, device=device)
    yield activated(users=1_000_000 if size == "full" else 1_024, nfe=30 if size == "full" else 3, device=device)


def affine(*, users: int, nfe: int, device: torch.device) -> Row:
    """The folded map."""
    config, network, source = transfer.drawn_network("none", users=users, nfe=nfe)
    folded = folder(config).fold(network.noise_predictor, initial_state=None).then(network.alignment)
    matrix, offset = (torch.from_numpy(part).float().to(device) for part in (folded.matrix, folded.offset))
    source = source.to(device)
    return _transfer_row(
        f"affine, NFE {nfe}, {users:,} users", lambda: torch.addmm(offset, source, matrix), config, network, source
    )


def activated(*, users: int, nfe: int, device: torch.device) -> Row:
    """The solver, recorded once for ``CHUNK`` users."""
    config, network, source = transfer.drawn_network("silu", users=users, nfe=nfe)
    solver = Replayed(transfer.sampler_of(config, network).to(device), device)
    source = source.to(device)
    chunk = min(CHUNK, users)
    out = torch.empty_like(source)
    rest = source.new_zeros(chunk, source.shape[1])

    def solved() -> Tensor:
        for start in range(0, users, chunk):
            part = source[start : start + chunk]
            if len(part) < chunk:
                rest[: len(part)] = part
            out[start : start + len(part)] = solver(part if len(part) == chunk else rest)[: len(part)]
        return out

    return _transfer_row(f"SiLU, NFE {nfe}, {users:,} users", solved, config, network, source)


def _transfer_row(
    case: str, ours: Callable[[], Tensor], config: DiffCDRConfig, network: DiffCDRNetwork, source: Tensor
) -> Row:
    plan = solver_plan(config)
    few = source[:PLAIN_USERS]
    network.to(source.device)

    def plain() -> Tensor:
        return transfer.plain_transfer(network, plan, few, guidance_scale=config.guidance_scale)

    check_equal(case, ours()[:PLAIN_USERS].cpu().numpy(), plain().cpu().numpy(), tolerance=1e-3)
    return _compared(transfer.NAME, case, (ours, plain), amounts=(len(source), len(few)), device=source.device)


def topk_rows(size: Size, *, device: torch.device) -> Iterator[Row]:
    """Narrow and wide, with and without masked items."""
    items, users = (topk.ITEMS, 262_144) if size == "full" else (4_096, 256)
    for dim in (10, 64):
        for masked in (0, topk.MASKED):
            yield search(items=items, dim=dim, users=users, masked=masked, device=device)


def search(*, items: int, dim: int, users: int, masked: int, device: torch.device) -> Row:
    """Exact search against one product, masked, and ``torch.topk``, which promises no order among equals."""
    rng = np.random.default_rng(0)
    vectors, queries = (
        torch.from_numpy(rng.standard_normal((n, dim), dtype=np.float32)).to(device) for n in (items, users)
    )
    few = queries[: PLAIN_USERS if users > PLAIN_USERS else users]
    seen = rng.integers(items, size=(users, masked), dtype=np.int32)
    mask = MaskedRows(np.arange(users + 1) * masked, seen.reshape(-1)) if masked else None
    barred = torch.from_numpy(seen[: len(few)].astype(np.int64)).to(device)
    ours = DeviceTopK(vectors, torch.zeros(items, device=device))

    def plain() -> Tensor:
        scores = (few @ vectors.T).scatter_(1, barred, -torch.inf) if masked else few @ vectors.T
        return scores.topk(topk.K, dim=1).values

    case = f"top {topk.K} of {items:,} x {dim}, {users:,} users, {masked} masked"
    found = ours.search(queries, topk.K, masked=mask)[1][: len(few)]
    check_equal(case, found.cpu().numpy(), plain().cpu().numpy(), tolerance=1e-4)
    both = (lambda: ours.search(queries, topk.K, masked=mask), plain)
    return _compared(topk.NAME, case, both, amounts=(users, len(few)), device=device)


def train_rows(size: Size, *, device: torch.device) -> Iterator[Row]:
    """Batches of ratings; the reference is that of the bench on the processor, one thread."""
    yield epochs(train.RELEASED, batches=570 if size == "full" else 5, device=device)


def epochs(config: DiffCDRConfig, *, batches: int, device: torch.device) -> Row:
    """An epoch of ``batches`` whole batches, against the first few of them with the solver written out."""
    few = min(batches, 11)
    generator = torch.Generator().manual_seed(0)
    networks = [
        DiffCDRNetwork(config, source_dim=train.DIM, target_dim=train.DIM, generator=generator) for _ in range(2)
    ]
    ours = DeviceUpdates(networks[0], config, problem=train.drawn_problem(config, batches=batches), device=device)
    plain = train.PlainUpdates(networks[1], config, problem=train.drawn_problem(config, batches=few))
    return _compared(
        train.NAME,
        f"batches of {config.batch_size} ratings, NFE {config.nfe}, against the processor",
        (lambda: ours.epoch(generator), lambda: plain.epoch(generator)),
        amounts=(batches * config.batch_size, few * config.batch_size),
        device=device,
    )


def _compared(
    bench: str,
    case: str,
    ways: tuple[Callable[[], object], Callable[[], object]],
    *,
    amounts: tuple[int, int],
    device: torch.device,
) -> Row:
    ours, plain = (finished(way, device) for way in ways)
    return Comparison(
        bench=bench,
        case=f"{_named(device)}: {case}",
        ours=ours,
        baseline=plain,
        amount=amounts[0],
        baseline_amount=amounts[1],
        unit="rows/s" if bench == train.NAME else "users/s",
        floor=None,
        clock=time.perf_counter,
    ).run()


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "torch on the processor"


DEVICE_BENCHES: Mapping[str, DeviceBench] = MappingProxyType(
    {
        serving.NAME: serving.serving_rows,
        transfer.NAME: transfer_rows,
        topk.NAME: topk_rows,
        train.NAME: train_rows,
    }
)
"""Those that run on a device, by name."""
