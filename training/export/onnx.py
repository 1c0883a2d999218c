"""From a fitted model to the transfer of a bundle: the ONNX graph, the folded map, and proof that they agree.

What serves is not what trained: training runs PyTorch, serving the fold or ONNX Runtime. So the export carries real
and random source vectors through every path there is, and refuses to go on where two of them differ.

The graph is run by ONNX Runtime, by whichever of its distributions is installed. The extra ``train`` names none, as
two of them in one environment would overwrite each other; where there is none, ONNX's reference evaluator runs it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from diffcdr.arrays import Float32Array
from diffcdr.bundle.manifest import TransferSpec
from diffcdr.bundle.reader import ONNX_FILE, BundleWriter
from diffcdr.errors import BundleError
from diffcdr.recommend.transfer import GRAPH_TOLERANCE, AffineTransfer
from training.models.contract import TransferModel

PARITY_LIMIT = GRAPH_TOLERANCE
"""Largest relative difference between two paths that a bundle may be published with."""
OPSET = 20
REAL_ROWS = 2048
RANDOM_ROWS = 1024


@dataclass(frozen=True)
class ExportedTransfer:
    """The transfer as files, at least one; ``fold`` is (matrix [source_dim, target_dim], offset [target_dim])."""

    spec: TransferSpec
    fold: tuple[Float32Array, Float32Array] | None
    onnx: bytes | None

    def write(self, writer: BundleWriter) -> None:
        """Add the files to a bundle."""
        if self.fold is not None:
            writer.array("transfer/matrix.npy", self.fold[0])
            writer.array("transfer/offset.npy", self.fold[1])
        if self.onnx is not None:
            writer.data(ONNX_FILE, self.onnx)


def export_transfer(model: TransferModel, *, generator: torch.Generator) -> ExportedTransfer:
    """Export ``model``'s transfer: its fold where it is affine, its graph where it has one.

    Args:
        model: fitted.
        generator: draws the random vectors of the parity check.

    Raises:
        BundleError: the model diverged, or PyTorch, the graph and the fold differ by more than ``PARITY_LIMIT``.
    """
    vectors = model.source_vectors()
    probes = _probes(vectors, generator)
    with torch.no_grad():
        paths = {"torch": model.transfer(probes).numpy()}
    if not np.isfinite(paths["torch"]).all():
        raise BundleError(f"the {model.name} model diverged in training, so nothing was published; lower its lr")
    folded, module = model.fold(), model.export_module()
    fold = None if folded is None else (_float32(folded[0]), _float32(folded[1]))
    graph = None if module is None else to_onnx(module, source_dim=int(vectors.shape[1]))
    if graph is not None:
        run, name = (_run_onnx, "onnx") if has_onnx_runtime() else (_run_reference, "reference")
        paths[name] = run(graph, probes.numpy())
    if fold is not None:
        paths["fold"] = AffineTransfer(*fold)(probes.numpy())
    parity = check_parity(paths)
    spec = TransferSpec(
        kind="onnx" if fold is None else "affine",
        source_dim=int(vectors.shape[1]),
        target_dim=int(paths["torch"].shape[1]),
        has_onnx=graph is not None,
        parity=parity,
        details=model.details(),
    )
    return ExportedTransfer(spec=spec, fold=fold, onnx=graph)


def to_onnx(module: torch.nn.Module, *, source_dim: int) -> bytes:
    """``module`` as an ONNX file: input ``source`` [batch, source_dim], output ``target``, any batch size.

    The exporter's notes (stack traces with the paths of this machine, for one) are taken out: the file depends on
    the model alone.
    """
    with _quiet_exporter(), TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        # By tracing: the exporter that goes by torch.export takes over ten times as long for the same graph.
        torch.onnx.export(
            module.eval(),
            (torch.zeros(3, source_dim),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["source"],
            output_names=["target"],
            dynamic_axes={"source": {0: "batch"}, "target": {0: "batch"}},
        )
        proto = onnx.load(path)
    _strip_notes(proto)
    graph: bytes = proto.SerializeToString(deterministic=True)
    return graph


def check_parity(paths: dict[str, Float32Array]) -> dict[str, float]:
    """Largest relative difference of each pair of ``paths`` (name -> target vectors [B, k]), as ``first_second``.

    Per row: |a - b| over the larger of |a| and |b| (Euclidean norms), zero where both are zero.

    Raises:
        BundleError: one exceeds ``PARITY_LIMIT``, or is not finite.
    """
    names = list(paths)
    parity = {}
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            worst = _relative_difference(paths[first], paths[second])
            parity[f"{first}_{second}"] = worst
            if not worst <= PARITY_LIMIT:
                raise BundleError(
                    f"the exported transfer is not the trained one ({first} and {second} differ by {worst:.1e} "
                    f"relative, allowed is {PARITY_LIMIT:.0e}), so nothing was published; its weights may have grown "
                    "too large in training: lower its lr"
                )
    return parity


def _relative_difference(first: Float32Array, second: Float32Array) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    sizes = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    return float(np.max(np.linalg.norm(a - b, axis=1) / np.where(sizes == 0.0, 1.0, sizes)))


def _probes(vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Vectors at even distances in the table, random ones of the same spread, and zero: float32 [B, source_dim]."""
    rows = torch.linspace(0, len(vectors) - 1, min(len(vectors), REAL_ROWS), dtype=torch.float64).round().long()
    spread = vectors.std(dim=0, correction=0)
    drawn = torch.randn(RANDOM_ROWS, vectors.shape[1], generator=generator) * spread + vectors.mean(dim=0)
    return torch.cat([vectors[rows], drawn, torch.zeros(1, vectors.shape[1])]).float()


def has_onnx_runtime() -> bool:
    """Whether ONNX Runtime checks the graph; else ONNX's reference evaluator does, in NumPy, some seconds slower."""
    return find_spec("onnxruntime") is not None


def _run_onnx(graph: bytes, vectors: Float32Array) -> Float32Array:
    import onnxruntime  # noqa: PLC0415 - training does without where there is none

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
    target: Float32Array = session.run(None, {"source": vectors})[0]
    return target


def _run_reference(graph: bytes, vectors: Float32Array) -> Float32Array:
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - takes a third of a second

    results: Any = ReferenceEvaluator(onnx.load_from_string(graph)).run(None, {"source": vectors})
    target: Float32Array = results[0]
    return target


def _float32(tensor: Tensor) -> Float32Array:
    values: Float32Array = tensor.detach().numpy().astype(np.float32)
    return values


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter's own deprecation warnings and advice are nothing the user could act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _strip_notes(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    noted = [proto, graph, *proto.functions, *graph.node, *graph.input, *graph.output, *graph.value_info]
    for entry in [*noted, *graph.initializer, *(node for function in proto.functions for node in function.node)]:
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
