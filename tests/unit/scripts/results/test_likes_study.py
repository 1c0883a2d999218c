"""With likes alone, a model learns from nothing else, and is judged on the ratings that all are judged on."""

from pathlib import Path

import numpy as np
import pytest

from scripts.results.likes_study import EVERY, RELEVANT, Likes, liked, likes_study, likes_table
from tests.unit.training.tiny import RANGE, quick_prepared
from training.config import load_preset
from training.run.fit import evaluate_test, fit_model
from training.run.run import Run


def test_variants_learn_from_likes_and_every_rating_is_what_train_does(tmp_path: Path) -> None:
    run = Run(config=load_preset("ranking", ["base.dim=4", "base.iterations=2"]), seed=0, rating_range=RANGE)
    prepared = quick_prepared(tmp_path, run)
    variants = (Likes(), Likes(source=4.0, target=4.0))
    every, likes = likes_study(prepared, run, models=["itemknn"], variants=variants)
    plain = fit_model("itemknn", prepared, run)
    assert every.test_every == pytest.approx(evaluate_test(plain, prepared).ndcg, rel=1e-12)
    assert every.validation_every == pytest.approx(plain.validation.ndcg, rel=1e-12)
    assert every.test_liked != every.test_every
    assert likes.test_every != every.test_every
    text = likes_table([every, likes, every])
    assert f"| itemknn | every rating | {every.validation_every:.4f} |" in text
    assert "| itemknn | source from 4, target from 4 |" in text


def test_what_is_left_out_is_left_out_of_everything_that_is_learnt_from(tmp_path: Path) -> None:
    run = Run(config=load_preset("ranking", ["base.dim=4", "base.iterations=2"]), seed=0, rating_range=RANGE)
    problem = quick_prepared(tmp_path, run).problem
    left = liked(problem, Likes(source=RELEVANT, target=RELEVANT), run)
    for table in (left.source, left.target, left.validation.ratings):
        assert table.ratings.min() >= RELEVANT
    assert len(left.source) == np.count_nonzero(problem.source.ratings >= RELEVANT) < len(problem.source)
    assert not np.array_equal(left.source_base.user_vectors, problem.source_base.user_vectors)
    assert liked(problem, Likes(source=EVERY), run) is problem
