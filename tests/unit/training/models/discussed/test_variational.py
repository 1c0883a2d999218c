"""The variational systems' parts against PyTorch's own distributions and sums written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions

from diffcdr.errors import InputError
from tests.unit.training.models.planted import planted
from tests.unit.training.rating_tables import no_ratings, rating_table
from training.models.discussed.cdrib import CDRIB, CDRIBConfig
from training.models.discussed.savae import SAVAE, SAVAEConfig
from training.models.discussed.variational import (
    Domain,
    Posterior,
    VariationalConfig,
    others,
    together,
)
from training.models.discussed.vdea import VDEA, Mixture, VDEAConfig, apart, match_groups

CONFIG = VariationalConfig(dim=2, hidden_dim=3)
TABLE = rating_table([0, 0, 0, 2], [0, 1, 3, 1], [5.0, 1.0, 4.0, 2.0], 3, 4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(seed: int, rows: int = 5, dim: int = 3) -> Posterior:
    draws = torch.randn(2, rows, dim, generator=generator(seed))
    return Posterior(draws[0], draws[1])


def as_torch(of: Posterior) -> distributions.Independent:
    return distributions.Independent(distributions.Normal(of.mean, (0.5 * of.log_variance).exp()), 1)


def test_divergences_are_those_of_torch() -> None:
    first, second = normals(1), normals(2)
    plain = Posterior(torch.zeros(5, 3), torch.zeros(5, 3))
    torch.testing.assert_close(first.divergence(second), distributions.kl_divergence(as_torch(first), as_torch(second)))
    torch.testing.assert_close(first.divergence(), distributions.kl_divergence(as_torch(first), as_torch(plain)))


def test_draws_have_the_mean_and_spread_of_the_posterior() -> None:
    one = Posterior(torch.tensor([[2.0, -1.0]]).repeat(4000, 1), torch.tensor([[0.0, -2.0]]).repeat(4000, 1))
    draws = one.sample(generator())
    torch.testing.assert_close(draws.mean(dim=0), torch.tensor([2.0, -1.0]), atol=0.08, rtol=0.0)
    torch.testing.assert_close(
        draws.std(dim=0), torch.tensor([1.0, np.exp(-1.0)], dtype=torch.float32), atol=0.05, rtol=0.0
    )


def test_the_encoder_sums_what_is_rated_and_by_how_much() -> None:
    domain = Domain(TABLE, None, CONFIG, hidden=True, generator=generator())
    encoder = domain.encoder
    summed = sum(
        encoder.rated[item] + (rating - 3.0) * encoder.liked[item] for item, rating in ((0, 5.0), (1, 1.0), (3, 4.0))
    )
    hidden = torch.tanh(encoder.bias + summed / 3**0.5)
    assert torch.is_tensor(hidden)
    expected = hidden @ encoder.mean.weight.T + encoder.mean.bias
    torch.testing.assert_close(domain.means()[0], expected)
    # Nobody's ratings but one's own: user 1 has none, and has what the biases alone give.
    nothing = torch.tanh(encoder.bias) @ encoder.mean.weight.T + encoder.mean.bias
    torch.testing.assert_close(domain.means()[1], nothing)


def test_a_users_mean_depends_on_that_user_alone_to_the_bit() -> None:
    problem = planted().problem
    config = VariationalConfig()
    whole = Domain(problem.source, None, config, hidden=False, generator=generator())
    for user in (0, 7, 159):
        mine = whole.encoder.means(whole.histories, torch.tensor([user]))
        assert torch.equal(mine[0], whole.means()[user])


def test_the_decoders_loss_is_half_the_squared_error_of_its_head() -> None:
    domain = Domain(TABLE, None, CONFIG, hidden=False, generator=generator())
    with torch.no_grad():
        domain.decoder.item_biases.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    vectors, head = torch.randn(2, 2, generator=generator(3)), domain.head()
    scores = head.offset + head.item_biases + vectors @ head.item_vectors.T
    expected = 0.5 * ((scores[0] - 2.0)[1] ** 2 + sum((scores[1, i] - r) ** 2 for i, r in ((0, 5), (1, 1), (3, 4))))
    torch.testing.assert_close(domain.decoded(vectors, torch.tensor([2, 0])), expected)


def test_added_zeros_are_reconstructed_and_not_encoded() -> None:
    zeros = rating_table([1], [2], [0.0], 3, 4)
    domain = Domain(TABLE, zeros, CONFIG, hidden=True, generator=generator())
    assert (len(domain.histories.ratings), len(domain.ratings.ratings)) == (4, 5)
    assert domain.head().objective == "ranking"
    assert float(domain.encoder.level) == 3.0 and float(domain.decoder.level) == pytest.approx(2.4)


def test_batches_hold_every_row_of_every_group_once() -> None:
    groups = [torch.arange(11), torch.arange(100, 103), torch.empty(0, dtype=torch.int64)]
    batches = list(together(groups, 4, generator()))
    assert len(batches) == 4
    for group, parts in zip(groups, zip(*batches, strict=True), strict=True):
        assert torch.equal(torch.cat(parts).sort().values, group)
    assert others(torch.tensor([1, 2, 5]), torch.tensor([5, 1])).tolist() == [2]


@pytest.mark.parametrize(
    "model", [SAVAE(SAVAEConfig(epochs=1)), CDRIB(CDRIBConfig(epochs=1)), VDEA(VDEAConfig(epochs=1))]
)
def test_a_domain_without_ratings_is_refused(model: SAVAE | CDRIB | VDEA) -> None:
    problem = planted().problem
    empty = replace(problem, target=no_ratings(n_items=problem.target.n_items))
    with pytest.raises(InputError, match="needs ratings"):
        model.fit(empty, generator=generator())


def test_the_source_autoencoder_of_savae_stays_as_it_was_trained() -> None:
    problem = planted().problem
    brief, longer = (SAVAE(SAVAEConfig(epochs=epochs, source_epochs=2)) for epochs in (1, 3))
    for model in (brief, longer):
        model.fit(problem, generator=generator())
    assert torch.equal(brief.source_vectors(), longer.source_vectors())
    further, _ = longer.fine_tuned(problem, generator=generator(5))
    assert torch.equal(further.source_vectors(), longer.source_vectors())
    assert not torch.equal(further.head().item_vectors, longer.head().item_vectors)


def test_the_mixture_has_the_density_of_torchs() -> None:
    mixture = Mixture(4, 3, generator=generator())
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.3, -1.0, 0.0, 2.0]))
        mixture.log_variances.copy_(torch.randn(4, 3, generator=generator(1)))
    groups = as_torch(Posterior(mixture.means, mixture.log_variances))
    theirs = distributions.MixtureSameFamily(distributions.Categorical(logits=mixture.logits), groups)
    vectors = torch.randn(6, 3, generator=generator(2))
    torch.testing.assert_close(mixture.log_density(vectors), theirs.log_prob(vectors))
    assert mixture.distances(mixture).diagonal().abs().max() == 0.0


def test_apart_is_the_distance_of_means_and_of_spreads() -> None:
    first = Posterior(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    second = Posterior(torch.tensor([[4.0, 2.0]]), torch.tensor([[0.0, 2.0 * math.log(3.0)]]))
    torch.testing.assert_close(apart(first, second), torch.tensor([9.0 + 4.0]))


def test_groups_of_equal_shape_are_matched_whatever_their_order() -> None:
    places = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0], [20.0, 3.0]])
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    order = torch.tensor([2, 0, 3, 1])
    turned = places[order] @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 7.0
    matching = match_groups(torch.cdist(places, places), torch.cdist(turned, turned), shares, shares[order])
    assert matching.argmax(dim=0).tolist() == order.tolist()
    torch.testing.assert_close(matching.sum(dim=1), shares)
    torch.testing.assert_close(matching.sum(dim=0), shares[order], atol=1e-3, rtol=0.0)


def test_no_distance_between_groups_gives_a_matching_without_preference() -> None:
    shares = torch.full((3,), 1 / 3)
    matching = match_groups(torch.zeros(3, 3), torch.zeros(3, 3), shares, shares)
    torch.testing.assert_close(matching, torch.full((3, 3), 1 / 9))
