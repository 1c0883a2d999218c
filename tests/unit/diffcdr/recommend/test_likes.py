"""Bundles in which low ratings are no likes: what they say is that an item was seen, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffcdr.bundle.check import check_tables
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.errors import BundleError
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from tests.bundles import write_bundle

LIKED = (("s00003", 5.0), ("s00009", 4.0))
DISLIKED = (("s00011", 3.5), ("s00012", 1.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("likes") / "bundle"
    write_bundle(path, objective="ranking", fold_in="als", warm="als", neighbours=True, console=True, likes=4.0)
    return open_bundle(path)


def ask(bundle: Bundle, query: Query) -> Recommendation:
    (answer,) = Recommender(bundle).answer([query])
    assert isinstance(answer, Recommendation)
    return answer


def test_a_history_counts_without_what_was_not_liked(bundle: Bundle) -> None:
    liked = ask(bundle, Query(None, history=LIKED, explain=True))
    assert ask(bundle, Query(None, history=(*DISLIKED, *LIKED), explain=True)) == liked
    every = replace(bundle, manifest=bundle.manifest.model_copy(update={"likes": None}))
    assert ask(every, Query(None, history=(*DISLIKED, *LIKED))).item_ids != liked.item_ids
    only = ask(bundle, Query(None, history=DISLIKED))
    assert (only.strategy, only.fallback_reason) == ("popular", "no_usable_history")
    assert ask(bundle, Query("u00030", history=DISLIKED)) == ask(bundle, Query("u00030"))


def test_disliked_target_items_are_not_listed_and_move_nothing(bundle: Bundle) -> None:
    plain = ask(bundle, Query("u00030", k=60))
    first = plain.item_ids[0]
    answer = ask(bundle, Query("u00030", k=60, target_history=((first, 2.0),)))
    assert (answer.strategy, answer.item_ids) == ("transfer", plain.item_ids[1:])
    liked = ask(bundle, Query("u00030", k=60, target_history=((first, 4.0),)))
    assert liked.strategy == "warm"
    assert first not in liked.item_ids


def test_warm_users_are_not_shown_what_they_disliked_and_moved_by_what_they_liked(bundle: Bundle) -> None:
    users, user = bundle.target_users, "u00003"
    row = users.ids.row(user)
    assert users.liked(row).tolist() == users.seen(row)[:2].tolist()
    assert not set(ask(bundle, Query(user, k=60)).item_ids) & set(bundle.target_items.ids.take(users.seen(row)))
    given = bundle.target_items.ids[int(users.seen(row)[3])]
    answer = ask(bundle, Query(user, k=60, target_history=((given, 5.0),), explain=True))
    blend = Recommender(bundle)._resolver.blend
    assert blend is not None and answer.explanations is not None
    own = blend(np.zeros(6), np.union1d(users.liked(row), users.seen(row)[3:4]), np.ones(3))
    for item, why in zip(answer.item_ids, answer.explanations, strict=True):
        vector = bundle.target_items.vectors[bundle.target_items.ids.row(item)].astype(np.float64)
        assert why.target_ratings == pytest.approx(float(vector @ own), abs=1e-5)


@pytest.mark.parametrize("flags", [None, np.ones(3, dtype=np.bool_), np.ones(75, dtype=np.uint8)])
def test_flags_that_do_not_fit_are_refused(bundle: Bundle, flags: object) -> None:
    assert len(bundle.target_users.seen_items) == 75
    users = replace(bundle.target_users, seen_liked=flags)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="seen_liked"):
        check_tables(replace(bundle, target_users=users))
