from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from diffcdr.errors import BundleError
from training.export.onnx import PARITY_LIMIT, check_parity, export_transfer, to_onnx
from training.fitting.loop import FitReport
from training.models.contract import TransferModel
from training.problem import ScoringHead

SOURCE_DIM, TARGET_DIM = 5, 3


class Given(TransferModel):
    """A model that is whatever the test gives it."""

    name = "given"

    def __init__(
        self, module: nn.Module, *, fold: tuple[Tensor, Tensor] | None = None, graph: nn.Module | None = None
    ) -> None:
        self._module, self._fold, self._graph = module, fold, graph
        self._vectors = torch.randn(50, SOURCE_DIM, generator=torch.Generator().manual_seed(3))

    def fit(self, problem: Any, *, generator: torch.Generator, progress: Any = None) -> FitReport:
        return FitReport()

    def source_vectors(self) -> Tensor:
        return self._vectors

    def transfer(self, vectors: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = self._module(vectors)
        return result

    def head(self) -> ScoringHead:
        return ScoringHead(torch.zeros(4, TARGET_DIM), torch.zeros(4), 0.0)

    def fold(self) -> tuple[Tensor, Tensor] | None:
        return self._fold

    def export_module(self) -> nn.Module | None:
        return self._graph

    def details(self) -> dict[str, Any]:
        return {"nfe": 30}


def linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(SOURCE_DIM, TARGET_DIM)


def fold_of(module: nn.Linear) -> tuple[Tensor, Tensor]:
    return module.weight.detach().double().T, module.bias.detach().double()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_affine_model_with_a_graph_exports_both_and_says_how_well_they_agree() -> None:
    module = linear()
    exported = export_transfer(Given(module, fold=fold_of(module), graph=module), generator=generator())
    spec = exported.spec
    assert (spec.kind, spec.has_onnx, spec.source_dim, spec.target_dim) == ("affine", True, SOURCE_DIM, TARGET_DIM)
    assert spec.parity.keys() == {"torch_onnx", "torch_fold", "onnx_fold"}
    assert all(0.0 <= value < 1e-5 for value in spec.parity.values())
    assert spec.details == {"nfe": 30}
    assert exported.fold is not None
    assert np.array_equal(exported.fold[0], module.weight.detach().numpy().T)


def test_a_plain_affine_map_has_no_graph_and_another_model_no_fold() -> None:
    module = linear()
    affine = export_transfer(Given(module, fold=fold_of(module)), generator=generator())
    assert affine.onnx is None
    assert affine.spec.parity.keys() == {"torch_fold"}
    curved = nn.Sequential(module, nn.SiLU())
    exported = export_transfer(Given(curved, graph=curved), generator=generator())
    assert exported.fold is None
    assert (exported.spec.kind, exported.spec.has_onnx) == ("onnx", True)


def test_a_wrong_fold_is_refused() -> None:
    module = linear()
    matrix, offset = fold_of(module)
    with pytest.raises(BundleError, match="torch and fold differ by .* nothing was published"):
        export_transfer(Given(module, fold=(matrix * (1 + 5e-4), offset)), generator=generator())


def test_a_wrong_graph_is_refused() -> None:
    module, other = linear(), nn.Sequential(linear(), nn.ReLU())
    with pytest.raises(BundleError, match="torch and onnx differ"):
        export_transfer(Given(module, graph=other), generator=generator())


def test_without_onnx_runtime_the_reference_evaluator_runs_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(linear(), nn.SiLU())
    by_runtime = export_transfer(Given(module, graph=module), generator=generator())
    monkeypatch.setattr("training.export.onnx.has_onnx_runtime", lambda: False)
    exported = export_transfer(Given(module, graph=module), generator=generator())
    assert exported.onnx == by_runtime.onnx
    assert by_runtime.spec.parity.keys() == {"torch_onnx"}
    assert exported.spec.parity.keys() == {"torch_reference"}
    assert exported.spec.parity["torch_reference"] < 1e-5
    with pytest.raises(BundleError, match="torch and reference differ"):
        export_transfer(Given(module, graph=nn.Sequential(linear(), nn.ReLU())), generator=generator())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_transfer_is_refused(bad: float) -> None:
    module = linear()
    with torch.no_grad():
        module.weight[1, 2] = bad
    with pytest.raises(BundleError, match="diverged"):
        export_transfer(Given(module, fold=fold_of(module)), generator=generator())


def test_parity_is_relative_to_each_row() -> None:
    large, small = np.float32([[1000.0, 0.0]]), np.float32([[1e-3, 0.0]])
    both = np.concatenate([large, small])
    check_parity({"a": both, "b": both * np.float32(1 + PARITY_LIMIT / 2)})
    off = both.copy()
    off[1, 1] = 1e-6  # nothing beside 1000, far too much beside 0.001
    with pytest.raises(BundleError, match="a and b differ by 1.0e-03"):
        check_parity({"a": both, "b": off})
    off[1, 1] = np.nan
    with pytest.raises(BundleError, match="a and b differ by inf"):
        check_parity({"a": both, "b": off})
    assert check_parity({"a": np.zeros((2, 2), np.float32), "b": np.zeros((2, 2), np.float32)}) == {"a_b": 0.0}


def test_the_graph_depends_on_the_model_alone_and_takes_any_batch() -> None:
    module = nn.Sequential(linear(), nn.SiLU())
    content = to_onnx(module, source_dim=SOURCE_DIM)
    assert content == to_onnx(module, source_dim=SOURCE_DIM)
    assert b"/" + b"test_export" not in content
    assert b".py" not in content
    graph = onnx.load_from_string(content).graph
    onnx.checker.check_model(onnx.load_from_string(content))
    assert [value.name for value in graph.input] == ["source"]
    assert [value.name for value in graph.output] == ["target"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param
