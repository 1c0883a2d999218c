"""Planted bundles of every kind that can be explained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from diffcdr.bundle.manifest import HistorySpec, RatingShapeSpec
from diffcdr.bundle.reader import Bundle, SourceUsers, open_bundle
from diffcdr.recommend.fold_in import FoldIn
from diffcdr.recommend.recommender import Recommender
from tests.bundles import write_bundle

Kind = Literal["als", "ridge", "shape", "graph", "features"]
KINDS: tuple[Kind, ...] = ("als", "ridge", "shape", "graph", "features")
SHAPE = RatingShapeSpec(
    offset=3.2,
    shrinkage=2.0,
    level_shrinkages=(0.5, 4.0),
    level_shares=(0.1, 0.2, 0.2, 0.3),
    spread=0.8,
    rating_range=(1.0, 5.0),
)
COLD, OTHER, WARM, TARGET_ONLY = "u00030", "u00040", "u00003", "v00001"
RNG = np.random.default_rng(5)


@cache
def planted(kind: Kind) -> Bundle:
    """A bundle whose stored source vectors are the fold-in of its histories; with a sparse term, but for graphs."""
    folder = TemporaryDirectory()
    implicit = kind in ("als", "features")
    features = 5 if kind in ("shape", "features") else 0
    write_bundle(
        Path(folder.name) / "bundle",
        source_dim=6,
        kind="onnx" if kind == "graph" else "affine",
        objective="ranking",
        fold_in="als" if implicit else "ridge",
        warm="als" if implicit else "ridge",
        console=True,
        neighbours=kind != "graph",
    )
    bundle = open_bundle(Path(folder.name) / "bundle")
    bundle = replace(bundle, path=Path(folder.name) / "bundle", **_widened(bundle, kind, features))
    held = bundle.console.history
    assert held is not None
    ids, vectors = bundle.source_items.ids, []
    assert bundle.manifest.fold_in is not None
    fold_in = FoldIn(bundle.manifest.fold_in, bundle.source_items)
    for row in range(len(bundle.source_users.ids)):
        mine = slice(held.indptr[row], held.indptr[row + 1])
        vectors.append(fold_in(list(zip(ids.take(held.items[mine]), held.ratings[mine].tolist(), strict=True))))
    _FOLDERS.append(folder)
    return replace(bundle, source_users=SourceUsers(bundle.source_users.ids, np.array(vectors, dtype=np.float32)))


_FOLDERS: list[TemporaryDirectory[str]] = []


def _widened(bundle: Bundle, kind: Kind, features: int) -> dict[str, Any]:
    """With history features, and how a user rates, in the source vector."""
    spec = bundle.manifest.fold_in
    assert spec is not None
    if not features:
        return {}
    assert bundle.affine is not None
    added = features + (SHAPE.dim if kind == "shape" else 0)
    m = len(bundle.source_items.ids)
    spec = spec.model_copy(
        update={
            "history": HistorySpec(dim=features, vector_weight=0.7),
            "shape": SHAPE if kind == "shape" else None,
        }
    )
    items = replace(
        bundle.source_items,
        idf=RNG.uniform(0.5, 3.0, m).astype(np.float32),
        basis=RNG.normal(size=(m, features)).astype(np.float32),
        level_biases=RNG.normal(scale=0.3, size=m).astype(np.float32),
    )
    matrix = np.concatenate([bundle.affine[0], RNG.normal(scale=0.5, size=(added, 6))]).astype(np.float32)
    transfer = bundle.manifest.transfer.model_copy(update={"source_dim": len(matrix)})
    manifest = bundle.manifest.model_copy(update={"fold_in": spec, "transfer": transfer})
    users = SourceUsers(bundle.source_users.ids, np.zeros((len(bundle.source_users.ids), len(matrix)), np.float32))
    return {
        "manifest": manifest,
        "source_items": items,
        "affine": (matrix, bundle.affine[1]),
        "source_users": users,
    }


@cache
def recommender(kind: Kind) -> Recommender:
    return Recommender(planted(kind), device="cpu")
