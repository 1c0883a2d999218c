"""A transfer that does not fold, on several kinds of processor: other bits, within the tolerance that is stated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffcdr.recommend.transfer import COMPLETENESS, GRAPH_TOLERANCE, OnnxTransfer, mean_jacobian
from tests.processors import FORCED
from training.export.onnx import to_onnx
from training.models.batching import blockwise
from training.models.diffusion.sampler import Sampler
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan

ROOT = Path(__file__).parents[4]
DIM, USERS = 10, 300
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Prescott"}
"""Torch, and the libraries that it may leave products to, without vector extensions."""
CODE = """
import sys
import numpy as np
from tests.unit.training.export.test_processors import carried
np.save(sys.argv[1], carried("float32"))
"""


def sampler() -> Sampler:
    """The network of the published sizes with SiLU, not trained."""
    config = DiffCDRConfig(activation="silu")
    network = DiffCDRNetwork(config, source_dim=DIM, target_dim=DIM, generator=torch.Generator().manual_seed(0))
    built = Sampler(
        network.noise_predictor,
        solver_plan(config),
        guidance_scale=config.guidance_scale,
        initial_state=network.initial_state,
        alignment=network.alignment,
    )
    return built.requires_grad_(False).eval()


def source() -> torch.Tensor:
    return torch.randn(USERS, DIM, generator=torch.Generator().manual_seed(1))


def carried(dtype: str) -> npt.NDArray[np.floating]:
    """Target vectors [USERS, DIM] by torch in ``dtype``."""
    kind = getattr(torch, dtype)
    return blockwise(sampler().to(kind), source().to(kind), width=DIM).numpy()


@pytest.mark.parametrize("variables", [{}, PLAIN], ids=["as it is", "no extensions"])
def test_an_activated_transfer_is_within_half_the_tolerance_of_float64(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """Half of it on each of two processors: so are they within the whole of each other."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED} | variables
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "v.npy")], cwd=ROOT, env=environment, check=True)
    graph = OnnxTransfer(to_onnx(sampler(), source_dim=DIM), target_dim=DIM, threads=1)
    exact = carried("float64")
    for found in (np.load(tmp_path / "v.npy"), graph(source().numpy())):
        apart = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
        assert apart.max() <= GRAPH_TOLERANCE / 2


def test_the_mean_jacobian_of_an_activated_transfer_is_complete() -> None:
    """So that shares of what leads to a user add up (docs/decisions/explanations.md)."""
    graph = OnnxTransfer(to_onnx(sampler(), source_dim=DIM), target_dim=DIM, threads=1)
    for scale, vector in zip((0.3, 1.0, 1.0, 5.0), source().numpy(), strict=False):
        start, end = np.zeros(DIM, dtype=np.float32), np.float32(scale) * vector
        began, reached = graph(np.stack([start, end])).astype(np.float64)
        left = end.astype(np.float64) @ mean_jacobian(graph, start, end) - (reached - began)
        assert np.linalg.norm(left) <= COMPLETENESS * max(np.linalg.norm(began), np.linalg.norm(reached))
