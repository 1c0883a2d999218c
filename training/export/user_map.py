"""The tables for the console: source histories, and a map of users and items.

The map is the paper's Figure 4: users known in both domains, as their source vectors, as the target vectors they are
carried to, by the bundle's model and by others that can be compared with it, and as the target vectors that their own
target ratings give. Only training users stand on it: of held-out users the bundle holds no target vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from diffcdr.arrays import Float32Array
from diffcdr.bundle.display_tables import SourceHistory, UserMap
from training.data.domains import Domain
from training.models.contract import TransferModel
from training.run.finish import FinishedModel

MAP_USERS = 250
MAP_ITEMS = 60
MAP_OTHERS = 3
"""More clouds than this over each other are not told apart."""
PERPLEXITY = 30.0
ITERATIONS = 500
"""Twice as many take twice as long and move little."""
FEWEST_POINTS = 20
"""Below this t-SNE has no neighbourhoods to keep; principal components are shown."""


def source_history(domain: Domain) -> SourceHistory:
    """The ratings of ``domain`` by user, items in order."""
    counts = np.bincount(domain.user_rows, minlength=len(domain.users))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SourceHistory(indptr, domain.item_rows.astype(np.int32), domain.ratings.astype(np.float32))


def draw_map(
    finished: FinishedModel, *, generator: torch.Generator, others: Mapping[str, TransferModel] | None = None
) -> UserMap:
    """Place up to ``MAP_USERS`` training overlap users, drawn at random, and the ``MAP_ITEMS`` most rated items.

    ``others``: further models by name, best first; the first ``MAP_OTHERS`` that :func:`_comparable` can place among
    the model's item vectors are on the map too.

    Vectors count by their direction alone: users whose vectors point the same way get the same order of items, up to
    what items' biases add.
    """
    model, problem = finished.model, finished.problem
    drawn = torch.randperm(len(problem.overlap_source), generator=generator)[:MAP_USERS].sort().values
    users = problem.overlap_source[drawn]
    beside = _comparable(model, others or {})
    target = finished.vectors_of(problem.overlap_target[drawn].numpy())
    popularity = np.bincount(problem.target.items, minlength=problem.target.n_items)
    items = np.argsort(-popularity, kind="stable")[:MAP_ITEMS].astype(np.int32)
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    (source_points,) = _plane([model.source_vectors()[users].numpy()], seed=seed)
    groups = [_carried(model, users), target, model.head().item_vectors.numpy()[items]]
    groups += [
        _carried(other, users) if turn is None else (_carried(other, users) @ turn).astype(np.float32)
        for other, turn in beside.values()
    ]
    transferred, own, item_points, *rivals = _plane(groups, seed=seed)
    return UserMap(
        users=users.numpy().astype(np.int32),
        source=source_points,
        transferred=transferred,
        target=own,
        items=items,
        item_points=item_points,
        others=dict(zip(beside, rivals, strict=True)),
    )


def _comparable(
    model: TransferModel, others: Mapping[str, TransferModel]
) -> dict[str, tuple[TransferModel, Float32Array | None]]:
    """Others that score the same item vectors, and for lists those with other ones too; there, with a matrix [k', k].

    It takes target vectors of the other to those whose scores on the model's items are nearest, by least squares.
    Predicted ratings of other item vectors have no common plane.
    """
    head = model.head()
    found: dict[str, tuple[TransferModel, Float32Array | None]] = {}
    for name, other in others.items():
        theirs = other.head()
        if torch.equal(theirs.item_vectors, head.item_vectors):
            found[name] = other, None
        elif (head.objective, theirs.objective) == ("ranking", "ranking") and theirs.item_vectors.any():
            with threadpool_limits(1):
                mine = head.item_vectors.double().numpy()
                turn = np.linalg.lstsq(mine, theirs.item_vectors.double().numpy(), rcond=None)[0]
            found[name] = other, turn.T.astype(np.float32)
    return dict(islice(found.items(), MAP_OTHERS))


def _carried(model: TransferModel, users: torch.Tensor) -> Float32Array:
    with torch.no_grad():
        return model.transfer(model.source_vectors()[users]).numpy()


def _plane(groups: list[npt.NDArray[np.float32]], *, seed: int) -> list[Float32Array]:
    """Positions float32 [n, 2] in [-1, 1] of each group's rows, all groups on one plane; zeros where none differ."""
    rows = np.concatenate(groups).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    # One thread: sums of several depend on who finishes first.
    with threadpool_limits(1):
        points = _embed(rows, seed=seed)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    points /= np.abs(points).max() or 1.0
    return [part.astype(np.float32) for part in np.split(points, np.cumsum([len(group) for group in groups])[:-1])]


def _embed(rows: npt.NDArray[np.float64], *, seed: int) -> npt.NDArray[np.float64]:
    from sklearn.decomposition import PCA  # noqa: PLC0415 - a second, which what comes before a map does without
    from sklearn.manifold import TSNE  # noqa: PLC0415

    if len(np.unique(rows, axis=0)) < FEWEST_POINTS:
        components = min(2, *rows.shape)
        points = np.zeros((len(rows), 2))
        if np.ptp(rows, axis=0).any():
            points[:, :components] = PCA(components, svd_solver="full").fit_transform(rows)
        return points
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    init = "random" if rows.shape[1] < 2 else "pca"
    embedding = TSNE(perplexity=perplexity, init=init, random_state=seed, max_iter=ITERATIONS)
    return np.asarray(embedding.fit_transform(rows), dtype=np.float64)
