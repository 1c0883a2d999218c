"""SSCDR: its triplets against sets, and what is left without them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.models.planted import planted
from tests.unit.training.models.two_kinds import two_kinds_of_users
from training.models.baselines.emcdr import EMCDR, EMCDRConfig
from training.models.baselines.sscdr import SSCDR, SSCDRConfig, Triplets
from training.problem import RatingTable

DATA = planted()
pairs = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1)


def table(rated: set[tuple[int, int]]) -> RatingTable:
    users, items = (torch.tensor(column) for column in zip(*sorted(rated), strict=True))
    return RatingTable(users, items, torch.full((len(rated),), 4.0), 6, 5)


@given(rated=pairs, overlap=st.sets(st.integers(0, 5)), seed=st.integers(0, 1000))
def test_triplets_are_an_item_rated_and_one_not(rated: set[tuple[int, int]], overlap: set[int], seed: int) -> None:
    triplets = Triplets.of(table(rated), overlap=torch.tensor(sorted(overlap), dtype=torch.int64))
    full = {user for user in range(6) if sum(u == user for u, _ in rated) == 5}
    usable = {(u, i) for u, i in rated if u not in overlap | full}
    assert set(zip(triplets.users.tolist(), triplets.items.tolist(), strict=True)) == usable
    if not usable:
        return
    drawn = triplets.draw(400, generator=torch.Generator().manual_seed(seed))
    for user, liked, other in zip(*(part.tolist() for part in drawn), strict=True):
        assert (user, liked) in usable
        assert (user, other) not in rated
        assert 0 <= other < 5


def test_negatives_are_uniform_over_what_is_unrated() -> None:
    triplets = Triplets.of(table({(2, 1), (2, 3)}), overlap=torch.empty(0, dtype=torch.int64))
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
