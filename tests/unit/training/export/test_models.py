"""The sampler as an ONNX graph: few nodes, any batch, the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from training.models.diffusion.sampler import Sampler
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        DiffCDRConfig(initial_state="source", hidden_dim=16, nfe=8),
        DiffCDRConfig(initial_state="gaussian", hidden_dim=16, nfe=8),
        DiffCDRConfig(conditioning="hidden", hidden_dim=16, nfe=8),
    ],
    ids=["source", "gaussian", "hidden"],
)
def test_graph_answers_as_torch_for_any_batch(config: DiffCDRConfig, tmp_path: Path) -> None:
    network = DiffCDRNetwork(config, source_dim=5, target_dim=5, generator=torch.Generator().manual_seed(0))
    sampler = Sampler(
        network.noise_predictor,
        solver_plan(config),
        guidance_scale=config.guidance_scale,
        initial_state=network.initial_state,
        alignment=network.alignment,
    )
    sampler = sampler.requires_grad_(False).eval()
    path = tmp_path / "transfer.onnx"
    torch.onnx.export(
        sampler,
        (torch.zeros(3, 5),),
        path,
        dynamo=True,
        input_names=["source"],
        output_names=["target"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    # An evaluation is three products, their sums, two activations and a mix; a step adds its weighted sums.
    assert len(onnx.load(path).graph.node) < 25 * config.nfe
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 33):
        source = np.random.default_rng(rows).standard_normal((rows, 5)).astype(np.float32)
        expected = sampler(torch.from_numpy(source)).numpy()
        answer = session.run(None, {"source": source})[0]
        assert np.abs(answer - expected).max() / np.abs(expected).max() < 1e-4
