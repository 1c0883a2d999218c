"""Competitors that the data is too large for are left out with a word, and an index is refused before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcdr.errors import InputError
from diffcdr.search.build_index import IndexOptions
from tests.command import run
from tests.unit.training.tiny import load
from training.data.domains import DomainPair
from training.run import contenders
from training.run.contenders import too_large
from training.train_plan import TrainPlan

DENSE = ["diffcdr.neighbour_shares=[0.0]"]
BEFORE = ("mean", "bias", "popular", "ridge")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> DomainPair:
    return load(tmp_path_factory.mktemp("domains"))


@pytest.fixture
def few_items(pair: DomainPair) -> IndexOptions:
    return IndexOptions(above=len(pair.target.items) - 1, floor=0.5)


def test_who_is_too_large_is_left_out_and_named(pair: DomainPair, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = TrainPlan.parse("ranking")
    assert too_large(pair) == {}
    assert plan.suited_to(pair) == (plan, [])
    assert plan.models == (*BEFORE, "itemknn", "dual_ridge", "slim", "diffcdr")
    shared = len(pair.overlap_source)
    pairs = sum(
        int(np.count_nonzero(pair.source.user_rows == source) * np.count_nonzero(pair.target.user_rows == target))
        for source, target in zip(pair.overlap_source, pair.overlap_target, strict=True)
    )
    for limits, left_out in (((shared, pairs), []), ((shared - 1, pairs - 1), ["itemknn", "dual_ridge", "slim"])):
        monkeypatch.setattr(contenders, "MOST_SHARED_USERS", limits[0])
        monkeypatch.setattr(contenders, "MOST_PAIRS", limits[1])
        suited, notes = plan.suited_to(pair)
        assert suited.models == tuple(name for name in plan.models if name not in left_out)
        assert [note.split()[0] for note in notes] == left_out
    assert f"{shared:,} shared users are more than {shared - 1:,}; --models dual_ridge adds it" in notes[1]
    monkeypatch.setattr(contenders, "MOST_PAIRS", pairs)
    for most, names in ((len(pair.target.items), set()), (len(pair.target.items) - 1, {"slim"})):
        monkeypatch.setattr(contenders, "MOST_TARGET_ITEMS", most)
        assert too_large(pair).keys() - {"dual_ridge"} == names
    # What was asked for by name is fitted, or refuses by itself.
    named = TrainPlan.parse("ranking", models="all")
    assert named.suited_to(pair) == (named, [])
    assert named.contenders == ()


def test_an_index_leaves_out_competitors_whose_scores_are_neighbours(pair: DomainPair, few_items: IndexOptions) -> None:
    suited, notes = TrainPlan.parse("ranking", DENSE).suited_to(pair, index=few_items)
    assert suited.models == (*BEFORE, "dual_ridge", "diffcdr")
    said = "is not among the competitors: an item index ignores its sparse term"
    assert [note.partition(";")[0] for note in notes] == [f"{name} {said}" for name in ("itemknn", "slim")]
    large = IndexOptions(above=len(pair.target.items), floor=0.5)
    assert TrainPlan.parse("ranking").suited_to(pair, index=large)[1] == []


@pytest.mark.parametrize(
    ("settings", "words", "said"),
    [
        ([], {}, "neighbour_shares"),
        ([], {"model": "diffcdr"}, "neighbour_shares"),
        ([], {"model": "itemknn"}, "--model"),
        ([], {"model": "slim"}, "--model"),
        (DENSE, {"models": "itemknn"}, "--model"),
        (DENSE, {"models": "itemknn", "select": "ndcg@20"}, "--model"),
    ],
)
def test_an_index_is_refused_where_the_sparse_term_may_be_published(
    pair: DomainPair, few_items: IndexOptions, settings: list[str], words: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        TrainPlan.parse("ranking", settings, **words).suited_to(pair, index=few_items)


@pytest.mark.parametrize("model", ["ridge", "popular"])
def test_an_index_is_not_refused_for_what_is_only_compared(
    pair: DomainPair, few_items: IndexOptions, model: str
) -> None:
    plan = TrainPlan.parse("ranking", model=model, models="itemknn,diffcdr")
    assert plan.suited_to(pair, index=few_items) == (plan, [])


def test_the_command_refuses_before_it_trains(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path)
    monkeypatch.setattr("training.commands.train.train_models", lambda *_: pytest.fail("it has trained"))
    files = ["--source", tmp_path / "films.csv", "--target", tmp_path / "books.csv"]
    assert run("train", *files, "--bundle", tmp_path / "bundle", "--approximate-above", "3") == InputError.exit_code
    assert "neighbour_shares" in capfd.readouterr().err
    assert not (tmp_path / "bundle").exists()
