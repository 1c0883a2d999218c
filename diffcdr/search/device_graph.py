"""The part of a search that a GPU does, as an ONNX graph: float32 scores, block maxima, and the best of both.

Items lie side by side in ``blocks`` columns and ``deep`` rows of columns: block b holds the items b, b + blocks,
b + 2 blocks, …, so that maxima over a block read whole rows in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from diffcdr.errors import MissingExtraError

OPSET, IR_VERSION = 20, 10
NOTHING = -3e38
"""The score of masked items and empty columns: finite, and below any real score."""
WIDTH_MULTIPLE = 4
"""Dimensions are padded to a multiple of this, so that rows are aligned to 16 bytes for the GPU."""


@dataclass(frozen=True, slots=True)
class BlockShape:
    """``blocks`` x ``deep`` columns for the items, each ``width`` dimensions: vector, bias, zeros."""

    blocks: int
    deep: int
    width: int

    @classmethod
    def of(cls, items: int, dim: int) -> BlockShape:
        """For ``items`` of ``dim`` dimensions: about as many maxima to look through as items of the best blocks."""
        deep = 2 ** round(math.log2(max(8.0, min(1024.0, math.sqrt(max(items, 1) / 32)))))
        return cls(-(-items // deep), deep, -(-(dim + 1) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE)

    @property
    def columns(self) -> int:
        """Of scores, for each user."""
        return self.blocks * self.deep


def search_graph(shape: BlockShape, *, kept: int, masked: bool) -> bytes:
    """Users [U, width] and items [width, columns] to the ``kept`` best blocks and the ``kept`` best items of these.

    Inputs: ``users``, ``items``; where ``masked``, ``pairs`` int64 [M, 2] (user, item) and ``nothing`` float32 [M],
    what their scores become. Outputs: ``rows`` int32 and ``values`` float32 [U, <= kept], best first, and ``maxima``
    float32 [U, <= kept] of the blocks they are from.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """
    try:
        onnx = import_module("onnx")  # wanted by the search on a GPU alone
    except ImportError as error:
        raise MissingExtraError("the search on a GPU", extra="serve-gpu") from error
    blocks = min(kept, shape.blocks)
    items = min(kept, shape.deep * blocks)
    make, kinds = onnx.helper, onnx.TensorProto
    constants: dict[str, Any] = {
        "as_blocks": np.array([-1, shape.deep, shape.blocks]),
        "middle": np.array([1]),
        "all_deep": np.array([1, shape.deep, 1]),
        "blocks_kept": np.array([blocks]),
        "items_kept": np.array([items]),
        "of_blocks": np.array(blocks),
        "stride": np.array(shape.blocks),
    }
    inputs = [("users", kinds.FLOAT, ["user", shape.width]), ("items", kinds.FLOAT, [shape.width, shape.columns])]
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [("MatMul", ["users", "items"], ["every"], {})]
    if masked:
        inputs += [("pairs", kinds.INT64, ["pair", 2]), ("nothing", kinds.FLOAT, ["pair"])]
        nodes.append(("ScatterND", ["every", "pairs", "nothing"], ["allowed"], {}))
    nodes += [
        ("Reshape", ["allowed" if masked else "every", "as_blocks"], ["scores"], {}),
        ("ReduceMax", ["scores", "middle"], ["block_maxima"], {"keepdims": 0}),
        ("TopK", ["block_maxima", "blocks_kept"], ["maxima", "best_blocks"], {"axis": 1}),
        ("Unsqueeze", ["best_blocks", "middle"], ["one_deep"], {}),
        ("Tile", ["one_deep", "all_deep"], ["where"], {}),
        ("GatherElements", ["scores", "where"], ["near"], {"axis": 2}),
        ("Flatten", ["near"], ["flat"], {"axis": 1}),
        ("TopK", ["flat", "items_kept"], ["values", "places"], {"axis": 1}),
        ("Mod", ["places", "of_blocks"], ["slot"], {}),
        ("Div", ["places", "of_blocks"], ["depth"], {}),
        ("GatherElements", ["best_blocks", "slot"], ["block"], {"axis": 1}),
        ("Mul", ["depth", "stride"], ["first"], {}),
        ("Add", ["first", "block"], ["item"], {}),
        ("Cast", ["item"], ["rows"], {"to": kinds.INT32}),
    ]
    outputs = [("rows", kinds.INT32), ("values", kinds.FLOAT), ("maxima", kinds.FLOAT)]
    graph = make.make_graph(
        [make.make_node(kind, ins, outs, **extra) for kind, ins, outs, extra in nodes],
        "search",
        [make.make_tensor_value_info(*each) for each in inputs],
        [make.make_tensor_value_info(name, kind, ["user", None]) for name, kind in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    data: bytes = model.SerializeToString()
    return data
