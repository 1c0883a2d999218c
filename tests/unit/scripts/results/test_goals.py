"""How cells stand against a baseline and against goals, worked by hand; and the pages that say so."""

import math
from xml.etree import ElementTree

import pytest
from scipy import stats

from scripts.results.diversity_study import DiversityFigures
from scripts.results.goal_pages import NDCG, RMSE, ranking_page, robust_page
from scripts.results.goals import PairResults, mean_change, standing, standings
from tests.unit.training.experiment.samples import result
from training.evaluation.beyond import BeyondAccuracy
from training.experiment.report.render import as_markdown


def pair(name: str, **figures: list[float | None]) -> PairResults:
    """``rmse_bias=[…]`` or ``ndcg_popular=[…]``: one value a seed, at beta 0.2."""
    cells = []
    for model, values in figures.items():
        field, _, model_name = model.partition("_")
        cells += [
            result(model_name, seed=seed, **{"rmse": None, "ndcg": 0.1} | {field: value})
            for seed, value in enumerate(values)
        ]
    return PairResults(name, f"{name} here", cells)


def test_a_standing_is_of_the_paired_differences() -> None:
    one = pair("douban", rmse_bias=[1.0, 1.1, 0.9], rmse_diffcdr=[0.98, 1.09, 0.90])
    found = standing(one, RMSE, test_fraction=0.2, model="diffcdr", baseline="bias")
    assert found is not None
    assert found.change == pytest.approx(-0.01)
    assert found.error == pytest.approx(0.01 / math.sqrt(3))
    assert found.p == pytest.approx(stats.ttest_rel([0.98, 1.09, 0.90], [1.0, 1.1, 0.9]).pvalue)
    assert (found.better, found.model.n, found.no_worse) == (2, 3, True)
    assert standing(one, RMSE, test_fraction=0.5, model="diffcdr", baseline="bias") is None
    assert standing(one, RMSE, test_fraction=0.2, model="diffcdr", baseline="mean") is None


@pytest.mark.parametrize(("drift", "tie"), [([0.0, 0.0, 0.0], True), ([0.01, -0.01, 0.01], True), ([0.01] * 3, False)])
def test_a_tie_is_within_one_standard_error(drift: list[float], tie: bool) -> None:
    one = pair("douban", rmse_bias=[1.0, 1.0, 1.0], rmse_diffcdr=[1.0 + each for each in drift])
    (found,) = standings([one], RMSE, model="diffcdr", baseline="bias")
    assert found.no_worse is tie
    lists = pair("douban", ndcg_ridge=[0.1, 0.1, 0.1], ndcg_diffcdr=[0.1 - each for each in drift])
    (found,) = standings([lists], NDCG, model="diffcdr", baseline="ridge")
    assert found.no_worse is tie


def test_only_seeds_of_both_count_and_models_without_the_figure_have_no_standing() -> None:
    one = pair("douban", rmse_bias=[1.0, 1.0, 1.0], rmse_diffcdr=[0.9], ndcg_popular=[0.1])
    (found,) = standings([one], RMSE, model="diffcdr", baseline="bias")
    assert (found.model.n, found.error, found.p) == (1, None, None)
    assert standings([one], RMSE, model="diffcdr", baseline="popular") == []
    assert math.isnan(mean_change([]))


def goals_of(text: str) -> dict[str, tuple[str, str]]:
    rows = text.partition("## Goals")[2].partition("##")[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {goal: (found, verdict) for goal, found, verdict in cells}


def test_the_page_on_ratings_says_what_is_reached_and_what_is_not() -> None:
    good = pair("douban", rmse_bias=[1.0, 1.0, 1.0], rmse_diffcdr=[0.99, 0.98, 0.99], rmse_mean=[1.2, 1.2, 1.2])
    bad = pair("movies-music", rmse_bias=[1.0, 1.0, 1.0], rmse_diffcdr=[1.02, 1.03, 1.02])
    for pairs, cells, verdicts in (([good], "1 of 1", {"**reached**"}), ([good, bad], "1 of 2", {"not reached"})):
        page = robust_page(pairs)
        found = goals_of(as_markdown(page))
        assert {verdict for _, verdict in found.values()} == verdicts
        assert [figure for goal, (figure, _) in found.items() if "every cell" in goal] == [cells] * 2
        (figure,) = page.figures
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
    assert (
        "| douban here | 0.2 | 1.2000 ± 0.0000 | 1.0000 ± 0.0000 | **0.9867 ± 0.0033** | -1.33% ± 0.33% |"
        in as_markdown(robust_page([good]))
    )


def test_the_page_on_lists_has_goals_of_each_pair_and_what_diversity_costs() -> None:
    beyond = BeyondAccuracy(coverage=0.1, novelty=5.0, gini=0.9, head_share=0.5, similarity=0.25)
    pairs = [
        pair("movies-music", ndcg_popular=[0.05] * 3, ndcg_ridge=[0.12] * 3, ndcg_diffcdr=[0.11, 0.12, 0.13]),
        pair("douban", ndcg_popular=[0.1] * 3, ndcg_ridge=[0.10] * 3, ndcg_diffcdr=[0.105] * 3),
        pair("elsewhere", ndcg_popular=[0.1] * 3, ndcg_ridge=[0.10] * 3, ndcg_diffcdr=[0.2] * 3),
    ]
    costs = {"Douban": [DiversityFigures(0.1, 0.15, 0.7, 0.07, beyond, 0.5)]}
    text = as_markdown(ranking_page(pairs, costs))
    found = goals_of(text)
    assert [verdict for goal, (_, verdict) in found.items() if "popular" in goal] == ["**reached**", "not reached"]
    assert [figure for goal, (figure, _) in found.items() if "popular" in goal] == ["2.40 ×", "1.05 ×"]
    assert ("3 of 3", "**reached**") in found.values()
    assert "| Douban | 0.1 | 0.1500 | 0.7000 | 0.0700 | 0.100 | 5.00 | 0.900 | 0.750 | 0.50 |" in text
    assert "| elsewhere here | 0.2 | 0.1000 ± 0.0000 | 0.2000 ± 0.0000 | 2.00 ± 0.00 | – | – |" in text


def test_pages_of_nothing_yet_say_so() -> None:
    for page in (robust_page([]), ranking_page([], {})):
        assert "No cell has been computed yet" in page.introduction[0]
        assert (page.tables, page.figures) == ((), ())
