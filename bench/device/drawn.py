"""What benches and checks on a GPU share: the solver of an activated DIM as a graph."""

from __future__ import annotations

from bench.training.transfer import DIM, drawn_network, sampler_of
from training.export.onnx import to_onnx


def silu_graph(*, nfe: int = 30) -> bytes:
    """The transfer of an untrained SiLU network of the published sizes, as export writes it."""
    config, network, _ = drawn_network("silu", users=1, nfe=nfe)
    return to_onnx(sampler_of(config, network), source_dim=DIM)
