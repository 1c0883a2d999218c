"""What diversity costs is measured on the lists that serving gives."""

from pathlib import Path

import pytest

from scripts.results.diversity_study import diversity_study
from tests.unit.training.tiny import quick_prepared, quick_run
from training.run.fit import evaluate_test, fit_model


def test_without_diversity_the_figures_are_the_models_own_and_with_it_lists_change(tmp_path: Path) -> None:
    run = quick_run()
    prepared = quick_prepared(tmp_path, run)
    fitted = fit_model("emcdr", prepared, run)
    plain, diverse = diversity_study(fitted.model, prepared, diversities=(0.0, 0.8), k=4)
    own = evaluate_test(fitted, prepared)  # at 20
    at_twenty, _ = diversity_study(fitted.model, prepared, diversities=(0.0, 0.8), k=20)
    assert (at_twenty.ndcg, at_twenty.hr, at_twenty.recall) == pytest.approx((own.ndcg, own.hr, own.recall))
    assert at_twenty.beyond == own.beyond
    assert (plain.diversity, diverse.diversity) == (0.0, 0.8)
    assert diverse.ndcg < plain.ndcg
    assert diverse.beyond.coverage > plain.beyond.coverage
