"""SSCDR: its triplets against sets, and what is left without them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.models.planted import planted
from tests.unit.training.models.two_kinds import two_kinds_of_users
from tests.unit.training.rating_tables import no_ratings, rating_table
from training.models.baselines.emcdr import EMCDR, EMCDRConfig
from training.models.baselines.sscdr import SSCDR, SSCDRConfig, Triplets
from training.problem import HeldOut, rating_tensors
from training.rating_table import RatingTable

DATA = planted()
NOBODY = HeldOut(
    torch.empty(0, dtype=torch.int64),
    no_ratings(n_items=40),
)
pairs = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1)


def table(rated: set[tuple[int, int]]) -> RatingTable:
    users, items = (torch.tensor(column) for column in zip(*sorted(rated), strict=True))
    return rating_table(users, items, torch.full((len(rated),), 4.0), 6, 5)


@given(rated=pairs, overlap=st.sets(st.integers(0, 5)), seed=st.integers(0, 1000))
def test_triplets_are_an_item_rated_and_one_not(rated: set[tuple[int, int]], overlap: set[int], seed: int) -> None:
    triplets = Triplets.of(table(rated), users=torch.tensor(sorted(set(range(6)) - overlap), dtype=torch.int64))
    full = {user for user in range(6) if sum(u == user for u, _ in rated) == 5}
    usable = {(u, i) for u, i in rated if u not in overlap | full}
    assert set(zip(triplets.users.tolist(), triplets.items.tolist(), strict=True)) == usable
    if not usable:
        return
    drawn = triplets.draw(400, generator=torch.Generator().manual_seed(seed))
    every = torch.tensor(sorted({user for user, _ in usable}))
    each = (every, *triplets.draw_for(every, generator=torch.Generator().manual_seed(seed)))
    for user, liked, other in zip(*(torch.cat(parts).tolist() for parts in zip(drawn, each, strict=True)), strict=True):
        assert (user, liked) in usable
        assert (user, other) not in rated
        assert 0 <= other < 5


def test_negatives_are_uniform_over_what_is_unrated() -> None:
    triplets = Triplets.of(table({(2, 1), (2, 3)}), users=torch.arange(6))
    _, _, negatives = triplets.draw(30_000, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(negatives, minlength=5) / 30_000
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]) / 3.0, atol=0.01, rtol=0.0)


def test_without_triplets_it_is_emcdr() -> None:
    plain = EMCDR(EMCDRConfig(epochs=3))
    model = SSCDR(SSCDRConfig(epochs=3, triplet_weight=0.0))
    for each in (plain, model):
        each.fit(DATA.problem, generator=torch.Generator().manual_seed(0))
    source = plain.source_vectors()
    torch.testing.assert_close(model.transfer(source), plain.transfer(source), rtol=1e-6, atol=1e-6)


def test_triplets_draw_users_towards_their_items() -> None:
    data = two_kinds_of_users()

    def loss(weight: float) -> float:
        model = SSCDR(SSCDRConfig(epochs=30, triplet_weight=weight, batch_size=30))
        report = model.fit(data.problem, generator=torch.Generator().manual_seed(0))
        return sum(epoch["triplet_loss"] for epoch in report.epochs[-5:]) / 5

    assert loss(10.0) < loss(1e-6) - 0.2


RELEASED: dict[str, Any] = {
    "bias": True,
    "anchors": "overlap",
    "negatives": "once",
    "margin": 1.0,
    "triplet_weight": 1.0,
    "squared_error": "sum",
    "rows": "ratings",
    "lr": 0.01,
    "batch_size": 100,
    "epochs": 2,
}


def test_the_released_form_by_a_plain_loop() -> None:
    """The released code's loss, told in words in docs/how-to/presets.md, in plain PyTorch; none of its code."""
    problem, generator = DATA.problem, torch.Generator().manual_seed(0)
    model = SSCDR(SSCDRConfig(**RELEASED))
    report = model.fit(replace(problem, validation=NOBODY), generator=torch.Generator().manual_seed(0))

    plain = torch.nn.Linear(4, 4)
    bound = 0.5  # 1 / sqrt(4)
    for parameter in plain.parameters():
        torch.nn.init.uniform_(parameter, -bound, bound, generator=generator)
    users = rating_tensors(problem.target).users  # overlap users have the same rows in both domains here
    triplets = Triplets.of(problem.source, users=problem.overlap_source)
    near, far = triplets.draw_for(users, generator=generator)
    rated = set(zip(problem.source.users.tolist(), problem.source.items.tolist(), strict=True))
    assert all((user, item) in rated for user, item in zip(users.tolist(), near.tolist(), strict=True))
    assert all((user, item) not in rated for user, item in zip(users.tolist(), far.tolist(), strict=True))
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    items = problem.source_base.item_vectors
    total = 0.0
    for _ in range(2):
        total = 0.0
        for rows in torch.split(torch.randperm(len(users), generator=generator), 100):
            target = problem.target_base.user_vectors[users[rows]]
            mapped = plain(problem.source_base.user_vectors[users[rows]])
            to_near = (target - plain(items[near[rows]])).norm(dim=1) ** 2
            to_far = (target - plain(items[far[rows]])).norm(dim=1) ** 2
            triplet = (to_near - to_far + 1.0).clamp(min=0.0).mean()
            adam.zero_grad()
            torch.autograd.backward(((mapped - target) ** 2).sum(dim=1).mean() + triplet)
            adam.step()
            total += float(triplet.detach()) * len(rows)
    folded = model.fold()
    assert folded is not None
    torch.testing.assert_close(folded[0].float(), plain.weight.T, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(folded[1].float(), plain.bias, rtol=0.0, atol=1e-5)
    assert report.epochs[-1]["triplet_loss"] == pytest.approx(total / len(users), rel=1e-4)


def test_users_of_the_source_alone_have_no_part_in_the_released_form() -> None:
    source = DATA.problem.source
    without = source.take(np.isin(source.users, DATA.problem.overlap_source.numpy()))
    fitted = []
    for table in (source, without):
        model = SSCDR(SSCDRConfig(**RELEASED))
        model.fit(replace(DATA.problem, source=table), generator=torch.Generator().manual_seed(0))
        fitted.append(model.transfer(DATA.problem.source_base.user_vectors))
    assert torch.equal(*fitted)
