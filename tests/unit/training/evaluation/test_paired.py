"""Paired differences, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.evaluate import Metrics
from training.evaluation.paired import paired_difference
from training.run.model_choice import on_evidence

PLAIN = Metrics(None, None, None, None, ndcg=0.0, hr=0.0, recall=0.0, k=20, users=4, ratings=4)


def measured(*ndcg: float) -> Metrics:
    return replace(PLAIN, ndcg=float(np.mean(ndcg)), ndcg_by_user=np.array(ndcg))


def test_a_difference_by_hand() -> None:
    found = paired_difference(measured(0.5, 0.7, 0.9, 0.3), measured(0.4, 0.4, 0.8, 0.2))
    assert found is not None
    assert found.ndcg == pytest.approx(0.15)
    assert found.standard_error == pytest.approx(0.1 / 2)  # differences .1 .3 .1 .1: standard deviation .1
    assert paired_difference(measured(0.5), PLAIN) is None
    single = paired_difference(measured(0.5), measured(0.1))
    assert single is not None
    assert single.standard_error is None


def test_a_plain_model_is_published_where_it_is_better_by_more_than_one_standard_error() -> None:
    diffcdr = measured(0.5, 0.5, 0.5, 0.5)
    clear, noisy = measured(0.6, 0.7, 0.6, 0.7), measured(0.0, 1.0, 0.4, 0.8)
    assert noisy.ndcg > diffcdr.ndcg
    assert on_evidence({"ridge": clear, "diffcdr": diffcdr}) == "ridge"
    assert on_evidence({"ridge": noisy, "diffcdr": diffcdr}) == "diffcdr"
    assert on_evidence({"ridge": measured(0.4, 0.4, 0.4, 0.4), "diffcdr": diffcdr}) == "diffcdr"
    assert on_evidence({"ridge": measured(0.9), "diffcdr": measured(0.1)}) == "diffcdr"
