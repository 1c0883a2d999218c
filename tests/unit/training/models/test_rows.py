"""A user's vector depends on that user alone, to the last bit: whatever k, the batch, and the place in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffcdr.recommend.transfer import OnnxTransfer
from tests.unit.training.models.planted import Planted, planted
from tests.unit.training.models.variants import VARIANTS, fit
from training.export.onnx import to_onnx
from training.models.batching import blockwise
from training.models.diffusion.dim import Activation, Conditioning
from training.models.diffusion.sampler import Sampler
from training.models.layers import product_by_rows
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, solver_plan

FORMS: list[tuple[Activation, Conditioning]] = [("none", "input"), ("silu", "input"), ("silu", "hidden")]
DTYPES = st.sampled_from([torch.float32, torch.float64])


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, int]:
    """Size of a batch, and a row of it."""
    size = draw(st.sampled_from([1, 2, 31, 33, 255, 256, 257, 300]))
    return size, draw(st.integers(0, size - 1))


def vectors(size: int, k: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(size, k, generator=torch.Generator().manual_seed(size), dtype=dtype)


def sampler(k: int, form: tuple[Activation, Conditioning], *, hidden_dim: int, dtype: torch.dtype) -> Sampler:
    activation, conditioning = form
    config = DiffCDRConfig(activation=activation, conditioning=conditioning, hidden_dim=hidden_dim, nfe=2)
    generator = torch.Generator().manual_seed(0)
    network = DiffCDRNetwork(config, source_dim=k, target_dim=k, generator=generator).to(dtype).requires_grad_(False)
    made = Sampler(
        network.noise_predictor,
        solver_plan(config),
        guidance_scale=config.guidance_scale,
        initial_state=None,
        alignment=network.alignment,
    )
    return made.eval()


@settings(max_examples=80)
@given(
    batch=batches(),
    k=st.integers(1, 24),
    form=st.sampled_from(FORMS),
    hidden_dim=st.sampled_from([7, 16, 20, 128]),
    dtype=DTYPES,
)
def test_sampler(
    batch: tuple[int, int], k: int, form: tuple[Activation, Conditioning], hidden_dim: int, dtype: torch.dtype
) -> None:
    (size, row), carry = batch, sampler(k, form, hidden_dim=hidden_dim, dtype=dtype)
    source = vectors(size, k, dtype)
    together = blockwise(carry, source, width=k)[row]
    assert torch.equal(blockwise(carry, source[row : row + 1], width=k)[0], together)


@settings(max_examples=6)
@given(batch=batches(), k=st.integers(1, 24), form=st.sampled_from(FORMS))
def test_exported_graph_of_the_sampler(batch: tuple[int, int], k: int, form: tuple[Activation, Conditioning]) -> None:
    size, row = batch
    graph = to_onnx(sampler(k, form, hidden_dim=16, dtype=torch.float32), source_dim=k)
    carry = OnnxTransfer(graph, target_dim=k, threads=1)
    source = vectors(size, k).numpy()
    assert np.array_equal(carry(source[row : row + 1])[0], carry(source)[row])


@settings(max_examples=100)
@given(inner=st.integers(1, 70), width=st.integers(1, 70), by_columns=st.booleans(), dtype=DTYPES)
def test_products(inner: int, width: int, by_columns: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(inner)
    shape = (width, inner) if by_columns else (inner, width)
    matrix = torch.randn(*shape, generator=generator, dtype=dtype)
    matrix = matrix.T if by_columns else matrix
    row, bias = vectors(1, inner, dtype), vectors(1, width, dtype)[0]
    for products in (product_by_rows(row.expand(256, -1), matrix), product_by_rows(row.expand(256, -1), matrix, bias)):
        assert torch.equal(products, products[:1].expand(256, -1))
    torch.testing.assert_close(products[:1], row @ matrix + bias, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def wide() -> Planted:
    """k = 10, where kernels treat rows of a block differently."""
    return planted(dim=10)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_model(variant: str, wide: Planted) -> None:
    less = {"epochs": 1, "nfe": 3, "dim": 10}
    model, _ = fit(variant, wide.problem, **{key: less[key] for key in less.keys() & VARIANTS[variant][1].keys()})
    source, module = model.source_vectors(), model.export_module()
    ways: list[Any] = [(source, model.transfer), (source.double(), model.transfer)]
    if module is not None:
        width = model.head().item_vectors.shape[1]
        graph = to_onnx(module, source_dim=source.shape[1])
        ways.append((source.numpy(), OnnxTransfer(graph, target_dim=width, threads=1)))
    for rows, carry in ways:
        together = np.asarray(carry(rows))
        for row in range(0, len(rows), 9):
            assert np.array_equal(np.asarray(carry(rows[row : row + 1]))[0], together[row])
        for size in (2, 31, 32, 100):
            assert np.array_equal(np.asarray(carry(rows[-size:])), together[-size:])
        many = np.asarray(carry(rows.repeat(4, 1) if isinstance(rows, Tensor) else np.tile(rows, (4, 1))))
        assert np.array_equal(many, np.tile(together, (4, 1)))
