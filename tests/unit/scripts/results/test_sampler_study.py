"""Every sampler is measured at every number of evaluations, and the page shows all of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.results.sampler_study import SAMPLERS, sampler_study, samplers_page
from tests.unit.training.tiny import load, quick_run
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import prepare


def test_each_sampler_at_each_number_of_evaluations(tmp_path: Path) -> None:
    pair, run = load(tmp_path), quick_run()
    found = list(sampler_study(pair, run, seeds=(1,), evaluations=(1, 2)))
    assert [(each.sampler, each.nfe, each.seed) for each in found] == [
        (sampler, nfe, 1) for sampler in SAMPLERS for nfe in (1, 2)
    ]
    assert SAMPLERS[0] == "dpm-solver"
    run = replace(run, seed=1)
    prepared = prepare(pair, run)
    own = evaluate_test(fit_model("diffcdr", prepared, run), prepared)  # nfe=1
    assert (found[0].rmse_clipped, found[0].ndcg) == pytest.approx((own.rmse_clipped, own.ndcg))
    # One evaluation is one step of order 1, whatever its name, and nothing is drawn in the last.
    assert found[4].rmse_clipped == pytest.approx(own.rmse_clipped, rel=1e-4)

    page = samplers_page(found, label="Small")
    (table,), (figure,) = page.tables, page.figures
    assert [row[0].text for row in table.rows] == [each.sampler for each in found]
    assert all(f">{sampler}<" in figure.svg for sampler in SAMPLERS)


def test_a_page_without_figures_says_so() -> None:
    assert "make results" in samplers_page([], label="Small").introduction[0]
