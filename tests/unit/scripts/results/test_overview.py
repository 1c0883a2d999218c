from scripts.results.goals import PairResults
from scripts.results.overview import BY_FIELD, claims_table, overview_page, overview_table
from tests.unit.training.experiment.samples import result
from training.experiment.report.render import as_markdown

RMSE = {"bias": 0.9, "emcdr": 1.2, "diffcdr": 1.1, "diffcdr-da": 1.3, "diffcdr-at": 1.0}
PAIR = PairResults(
    "a-b",
    "A → B",
    [
        result(
            model,
            seed=seed,
            test_fraction=fraction,
            scenario=scenario,
            rmse=rmse + 0.01 * seed * len(model) - (0.05 if scenario == "warm" and model == "emcdr" else 0),
        )
        for model, rmse in RMSE.items()
        for seed in range(3)
        for fraction in (0.2, 0.5)
        for scenario in ("cold", "warm")
    ],
)


def test_the_best_and_the_place_of_the_subject() -> None:
    table = overview_table([PAIR], BY_FIELD["rmse_clipped"], preset="paper", scenario="cold")
    assert table.title == "RMSE clipped, cold start, preset paper"
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["A → B", fraction, "bias", "0.9400 ± 0.0231", "1.1700 ± 0.0404", "3 of 5", "0.9400 ± 0.0231", "–", "3"]
        for fraction in ("0.2", "0.5")
    ]


def test_claims_are_counted() -> None:
    table = claims_table({"reference": [], "paper": [PAIR]})
    counts = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert counts["DiffCDR has the best RMSE of the paper's seven systems, cold start"] == ["–", "2 (2) of 2"]
    assert counts["DiffCDR has a better clipped RMSE than the bias model, cold start"] == ["–", "0 (0) of 2"]
    assert counts["DiffCDR has a better NDCG@20 than the popular list, cold start"] == ["–", "–"]
    assert counts["The whole has a better MAE than without its task (DA)"] == ["–", "2 (2) of 2"]
    assert counts["The whole has a better MAE than without its diffusion (AT)"] == ["–", "0 (0) of 2"]
    assert counts["A system of the paper has a better RMSE warm than cold"] == ["–", "2 of 4"]


def test_a_page_without_results_says_no_more_than_that() -> None:
    page = overview_page({"reference": [], "paper": []}, links=["- [robust](robust.md)"])
    assert page.tables == ()
    assert "[robust](robust.md)" in as_markdown(page)
