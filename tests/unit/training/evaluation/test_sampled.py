"""Ranking against sampled negatives: worked by hand, against a slow oracle, and whatever the order of users."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.errors import InputError
from tests.command import run
from tests.unit.training.tiny import QUICK, write_domains
from training.evaluation.ranking import UserLists
from training.evaluation.sampled import draw_negatives, sampled_metrics
from training.experiment.results import RESULTS
from training.problem import ScoringHead


def head_of(scores: list[float]) -> ScoringHead:
    """Items with these scores for the user vector [1]."""
    return ScoringHead(torch.tensor(scores)[:, None], torch.zeros(len(scores)), 0.0)


def test_hand_worked_values() -> None:
    # All other items are negatives. Item 2 (score 3) has item 0 ahead; item 13 (score -1) has all twelve others ahead.
    scores = [9.0, 1.0, 3.0, *[0.0] * 10, -1.0]
    relevant = UserLists.build(np.array([0, 0]), np.array([2, 13]), n_users=1)
    ndcg, hr = sampled_metrics(np.ones((1, 1)), head_of(scores), relevant, keys=np.array([5]), negatives=99, seed=0)
    assert ndcg.tolist() == pytest.approx([(1 / math.log2(3) + 0.0) / 2])
    assert hr.tolist() == [0.5]


def test_equal_scores_rank_by_item_row() -> None:
    relevant = UserLists.build(np.array([0, 1]), np.array([0, 2]), n_users=2)
    ndcg, _ = sampled_metrics(np.ones((2, 1)), head_of([1.0] * 3), relevant, keys=np.array([0, 1]), negatives=9, seed=0)
    assert ndcg.tolist() == pytest.approx([1.0, 1 / math.log2(4)])


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32), st.data())
def test_negatives_are_items_the_user_has_not_each_once(
    n_items: int, count: int, seed: int, data: st.DataObject
) -> None:
    own = np.array(sorted(data.draw(st.sets(st.integers(0, n_items - 1), min_size=1))))
    drawn = draw_negatives(own, n_items, count=count, seed=seed, key=3)
    assert drawn.shape == (len(own), min(count, n_items - len(own)))
    for row in drawn.tolist():
        assert len(set(row)) == len(row)
        assert not set(row) & set(own.tolist())
        assert all(0 <= item < n_items for item in row)


def test_every_item_is_as_likely_a_negative() -> None:
    own = np.array([2, 5])
    counts = sum(
        np.bincount(draw_negatives(own, 10, count=4, seed=0, key=key).ravel(), minlength=10) for key in range(2000)
    )
    assert counts[own].tolist() == [0, 0]
    assert np.allclose(np.delete(counts, own) / 4000, 0.5, atol=0.03)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(8, 30), st.integers(1, 12))
def test_against_a_slow_oracle_in_any_order_of_users(seed: int, n_users: int, n_items: int, negatives: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (n_users, 2)).astype(np.float32)
    head = ScoringHead(
        torch.from_numpy(random.integers(-2, 3, (n_items, 2)).astype(np.float32)),
        torch.from_numpy(random.integers(-1, 2, n_items).astype(np.float32)),
        0.0,
    )
    has = random.random((n_users, n_items)) < 0.2
    has[:, 0] = True
    keys = random.permutation(1000)[:n_users]
    relevant = UserLists.build(*np.nonzero(has), n_users=n_users)
    ndcg, hr = sampled_metrics(vectors, head, relevant, keys=keys, negatives=negatives, seed=7)
    for user in range(n_users):
        own = np.flatnonzero(has[user])
        scores = [float(head.item_vectors[j].numpy() @ vectors[user] + head.item_biases[j]) for j in range(n_items)]
        gains = []
        for item, row in zip(own, draw_negatives(own, n_items, count=negatives, seed=7, key=keys[user]), strict=True):
            rank = sorted([item, *row], key=lambda j, scores=scores: (-scores[j], j)).index(item) + 1
            gains.append((1 / math.log2(rank + 1), 1.0) if rank <= 10 else (0.0, 0.0))
        assert (ndcg[user], hr[user]) == pytest.approx(tuple(np.mean(gains, axis=0)))
    order = random.permutation(n_users)
    again = sampled_metrics(
        vectors[order], head, UserLists.build(*np.nonzero(has[order]), n_users=n_users), keys=keys[order],
        negatives=negatives, seed=7,
    )  # fmt: skip
    assert again[0].tolist() == ndcg[order].tolist()
    assert again[1].tolist() == hr[order].tolist()


def test_an_experiment_measures_them_where_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = write_domains(tmp_path)
    options = ["--source", source, "--target", target, "--out", tmp_path / "out", "--models", "popular,bias"]
    options += [
        "--test-fractions",
        "0.2",
        "--seeds",
        "1",
        "--warm",
        "--preset",
        "reference",
        *(p for key in QUICK for p in ("--set", key)),
    ]

    def experiment(*more: str) -> int:
        return run("experiment", *options, *more)

    assert experiment("--sampled-negatives", "9") == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / RESULTS).read_text().splitlines()]
    for line in lines:
        if line["scenario"] == "warm":
            assert line["sampled"] is None
        else:
            assert line["sampled"]["negatives"] == 9
            assert 0.0 < line["sampled"]["ndcg"] <= line["sampled"]["hr"] <= 1.0
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Sampled negatives, cold start, β = 0.2" in report
    assert "NDCG@10 (9 sampled)" in report
    assert "Sampled negatives, warm" not in report
    capfd.readouterr()
    assert experiment() == InputError.exit_code
    assert "differs in sampled negatives" in capfd.readouterr().err
