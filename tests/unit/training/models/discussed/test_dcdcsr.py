"""Benchmark vectors by hand: what is dense counts more, and similar users are found in the source domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.models.planted import planted
from training.models.discussed import dcdcsr
from training.models.discussed.dcdcsr import benchmark, nearest


def test_neighbours_are_the_nearest_by_cosine_and_never_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(dcdcsr, "USERS_AT_ONCE", 5)
    found = nearest(vectors, count=4)
    for row in range(len(vectors)):
        alike = torch.nn.functional.cosine_similarity(vectors[row : row + 1].double(), vectors.double())
        alike[row] = -2.0
        assert found[row].tolist() == alike.argsort(descending=True)[:4].tolist()
    assert nearest(vectors[:1], count=4).shape == (1, 0)


def test_a_benchmark_vector_by_hand() -> None:
    problem = planted().problem
    # The first training user has rated 12 of 40 source items; of the target, three quarters of theirs are taken away.
    user = int(problem.overlap_target[0])
    mine = np.flatnonzero(problem.target.users == user)
    kept = np.setdiff1d(np.arange(len(problem.target)), mine[3:])
    problem = replace(problem, target=problem.target.take(kept))
    vectors = problem.target_base.user_vectors[problem.overlap_target]
    similar = nearest(problem.source_base.user_vectors[problem.overlap_source], count=5)[0]
    share = (3 / 40) / (3 / 40 + 12 / 40)
    expected = share * vectors[0] + (1 - share) * vectors[similar].mean(dim=0)
    torch.testing.assert_close(benchmark(problem, neighbours=5)[0], expected)


def test_a_user_without_target_ratings_gets_what_neighbours_have() -> None:
    problem = planted().problem
    user = int(problem.overlap_target[0])
    problem = replace(problem, target=problem.target.take(problem.target.users != user))
    vectors = problem.target_base.user_vectors[problem.overlap_target]
    similar = nearest(problem.source_base.user_vectors[problem.overlap_source], count=2)[0]
    torch.testing.assert_close(benchmark(problem, neighbours=2)[0], vectors[similar].mean(dim=0))
