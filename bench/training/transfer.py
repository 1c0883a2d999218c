"""Bench ``transfer``: from source to target vectors, against guidance and solver written out step by step.

The reference evaluates Eq. 3 as it stands, two forward passes for each of the solver's evaluations, in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.harness import Comparison, Point, Row, Size, check_equal, make_row
from bench.machine import copy_rate, sgemm_rate
from diffcdr.arrays import Float32Array
from diffcdr.recommend.transfer import AffineTransfer, OnnxTransfer
from training.export.onnx import to_onnx
from training.models.batching import BLOCK, blockwise
from training.models.diffusion.sampler import Sampler, guided_noise
from training.models.diffusion.solver import SolverPlan, Stage, solve
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, folder, solver_plan

NAME = "transfer"
DIM = 10
TRAINING_BATCH = 128


def bench(size: Size) -> Iterator[Row]:
    """The fold and the solver, with and without activation."""
    users = 10_240 if size == "full" else 1_024
    yield affine(users=users, nfe=30, floor=400.0)
    yield fold()
    # Exporting the graph takes most of the time, and grows with NFE.
    yield from activated(users=users, nfe=30 if size == "full" else 6)
    if size == "full":
        yield from sweeps()


def sweeps() -> Iterator[Row]:
    """The folded map and the solver with SiLU, with growing NFE and numbers of users; the map with growing k too."""
    for nfe in (1, 3, 10, 30, 100):
        point = Point("affine, 1,024 users, k = 10", "NFE", nfe, _affine_limit(1_024, DIM))
        yield affine(users=1_024, nfe=nfe, floor=None, point=point)
    for users in (1, 10, 100, 1_000, 10_000, 100_000):
        point = Point("affine, NFE 3, k = 10", "users", users, _affine_limit(users, DIM))
        yield affine(users=users, nfe=3, floor=None, point=point)
    for dim in (5, 10, 20, 40, 80):
        point = Point("affine, NFE 3, 1,024 users", "k, width of vectors", dim, _affine_limit(1_024, dim))
        yield affine(users=1_024, nfe=3, floor=None, dim=dim, point=point)
    for nfe in (1, 3, 10, 30, 100):
        yield _silu("SiLU on torch, 512 users", "NFE", nfe, users=512, nfe=nfe)
    for users in (1, 16, 256, 2_048):
        yield _silu("SiLU on torch, NFE 10", "users", users, users=users, nfe=10)


def _affine_limit(users: int, dim: int) -> float:
    """Users a second: one product with k x k, or a vector read and one written, whichever takes longer."""
    product, moved = 2.0 * dim * dim, 2.0 * 4 * dim
    return 1.0 / max(product / sgemm_rate(users, dim, dim), moved / copy_rate(users * 4 * dim))


def _silu(panel: str, axis: str, x: int, *, users: int, nfe: int) -> Row:
    """A row of a sweep of the solver on torch. Its limit: the products of the hidden layers."""
    config, network, source = drawn_network("silu", users=users, nfe=nfe)
    limit = sgemm_rate(2 * BLOCK, config.hidden_dim, config.hidden_dim) / _operations(config)
    return _against_plain(
        f"SiLU on torch, NFE {nfe}, {users:,} users",
        _on_torch(sampler_of(config, network), source),
        config=config,
        network=network,
        source=source,
        floor=None,
        point=Point(panel, axis, x, limit),
    )


def plain_transfer(network: DiffCDRNetwork, plan: SolverPlan, source: Tensor, *, guidance_scale: float) -> Tensor:
    """Guidance, solver and ALM as the paper writes them: [B, k] -> [B, k]."""
    aligned: Tensor = network.alignment(plain_solve(network, plan, source, guidance_scale=guidance_scale))
    return aligned


def plain_solve(network: DiffCDRNetwork, plan: SolverPlan, source: Tensor, *, guidance_scale: float) -> Tensor:
    """Eq. 4 without shortcuts, from x_T = u_s: [B, k] -> [B, k]."""

    def noise(x: Tensor, stage: Stage) -> Tensor:
        t = torch.full((len(x),), stage.t, dtype=torch.float64, device=x.device)
        return guided_noise(network.noise_predictor, x, t, condition=source, guidance_scale=guidance_scale)

    with torch.no_grad():
        return solve(noise, source, plan)


def affine(*, users: int, nfe: int, floor: float | None, dim: int = DIM, point: Point | None = None) -> Row:
    """The folded map over a batch of users."""
    config, network, source = drawn_network("none", users=users, nfe=nfe, dim=dim)
    folded = folder(config).fold(network.noise_predictor, initial_state=None).then(network.alignment)
    transfer = AffineTransfer(folded.matrix.astype(np.float32), folded.offset.astype(np.float32))
    return _against_plain(
        f"affine, k = {dim}, NFE {nfe}, {users:,} users",
        lambda: transfer(source.numpy()),
        config=config,
        network=network,
        source=source,
        floor=floor,
        point=point,
    )


def fold() -> Row:
    """The fold inside training, against solving the batch that it stands in for."""
    config, network, source = drawn_network("none", users=TRAINING_BATCH, nfe=30)
    fold_again, plan = folder(config), solver_plan(config)
    return Comparison(
        bench=NAME,
        case=f"fold repeated in training, against solving {TRAINING_BATCH} users",
        ours=lambda: fold_again.fold(network.noise_predictor, initial_state=None),
        baseline=lambda: plain_solve(network, plan, source, guidance_scale=config.guidance_scale),
        amount=1.0,
        unit="batches/s",
        floor=20.0,
    ).run()


def activated(*, users: int, nfe: int) -> Iterator[Row]:
    """The solver with SiLU on torch and on ONNX Runtime, and how near it comes to the machine's matrix products."""
    config, network, source = drawn_network("silu", users=users, nfe=nfe)
    sampler = sampler_of(config, network)
    graph = OnnxTransfer(to_onnx(sampler, source_dim=DIM), target_dim=DIM, threads=1)
    ways: list[tuple[str, Callable[[], Float32Array], float, float]] = [
        ("torch", _on_torch(sampler, source), 0.7, 0.1),
        ("ONNX Runtime", lambda: graph(source.numpy()), 1.1, 0.2),
    ]
    for engine, ours, floor, share_floor in ways:
        case = f"SiLU on {engine}, NFE {nfe}, {users:,} users"
        row = _against_plain(case, ours, config=config, network=network, source=source, floor=floor)
        yield row
        yield make_row(
            NAME,
            f"SiLU on {engine}, share of sgemm",
            ours=row.ours * _operations(config) / 1e9,
            baseline=sgemm_rate(2 * BLOCK, config.hidden_dim, config.hidden_dim) / 1e9,
            floor=share_floor,
            unit="GFLOP/s",
        )


def sampler_of(config: DiffCDRConfig, network: DiffCDRNetwork) -> Sampler:
    """The solver with what does not change taken out of its loop, from x_T = u_s."""
    sampler = Sampler(
        network.noise_predictor,
        solver_plan(config),
        guidance_scale=config.guidance_scale,
        initial_state=None,
        alignment=network.alignment,
    )
    return sampler.requires_grad_(False).eval()


def _on_torch(sampler: Sampler, source: Tensor) -> Callable[[], Float32Array]:
    return lambda: blockwise(sampler, source, width=DIM).numpy()


def _operations(config: DiffCDRConfig) -> float:
    """Multiplications and additions in matrix products for one user: x once, two branches, one way back."""
    hidden = config.hidden_dim
    return config.nfe * 2.0 * (2 * DIM * hidden + 2 * hidden * hidden)


def drawn_network(
    activation: Literal["none", "silu"], *, users: int, nfe: int, dim: int = DIM
) -> tuple[DiffCDRConfig, DiffCDRNetwork, Tensor]:
    """An untrained network of the published sizes, and source vectors [users, dim] for it."""
    config = DiffCDRConfig(activation=activation, nfe=nfe)
    generator = torch.Generator().manual_seed(0)
    network = DiffCDRNetwork(config, source_dim=dim, target_dim=dim, generator=generator).requires_grad_(False)
    return config, network, torch.randn(users, dim, generator=generator)


def _against_plain(
    case: str,
    ours: Callable[[], Float32Array],
    *,
    config: DiffCDRConfig,
    network: DiffCDRNetwork,
    source: Tensor,
    floor: float | None,
    point: Point | None = None,
) -> Row:
    plan = solver_plan(config)

    def plain() -> Tensor:
        return plain_transfer(network, plan, source, guidance_scale=config.guidance_scale)

    check_equal(case, ours(), plain().numpy(), tolerance=1e-3)
    return Comparison(
        bench=NAME,
        case=case,
        ours=ours,
        baseline=plain,
        amount=len(source),
        unit="users/s",
        floor=floor,
        repeats=3,
        point=point,
    ).run()
