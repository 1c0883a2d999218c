import json
from dataclasses import replace
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from tests.unit.training.experiment.samples import result
from tests.unit.training.tiny import quick_config
from training.data.domains import DomainPair
from training.evaluation.beyond import BeyondAccuracy
from training.experiment.plan import Setup
from training.experiment.results import IDENTITY, RESULTS, CellResult, ResultsFile

KEYS = [
    *("model", "preset", "test_fraction", "seed", "scenario", "mae", "rmse", "mae_clipped", "rmse_clipped"),
    *("ndcg@20", "hr@20", "recall@20", "train rows/s", "transfer users/s", "seconds", "versions"),
]


def test_a_line_has_the_public_names_and_reads_back() -> None:
    line = result("popular", rmse=None).line()
    assert line.endswith("}\n") and line.count("\n") == 1
    assert set(KEYS) <= json.loads(line).keys()
    assert json.loads(line)["mae"] is None
    assert CellResult.model_validate_json(line) == result("popular", rmse=None)


def test_figures_beyond_accuracy_read_back_and_lines_without_them_still_read() -> None:
    beyond = BeyondAccuracy(coverage=0.1, novelty=5.0, gini=0.9, head_share=0.5, similarity=0.2)
    whole = result("diffcdr", beyond=beyond)
    assert CellResult.model_validate_json(whole.line()) == whole
    fields = json.loads(whole.line())
    del fields["beyond"]
    assert CellResult.model_validate_json(json.dumps(fields)) == result("diffcdr")


def test_lines_are_kept_in_the_order_of_the_grid_the_last_of_a_cell_counts(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "deep" / "out")
    assert file.read() == []
    for each in (result("mean", seed=1), result("mean", seed=0), result("mean", seed=1, rmse=2.0)):
        file.append(each)
    assert file.read() == [result("mean", seed=0), result("mean", seed=1, rmse=2.0)]


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_line_broken_by_a_kill_is_cut_off_and_written_anew(tmp_path: Path, kept: int) -> None:
    file = ResultsFile(tmp_path)
    file.append(result("mean"))
    with (tmp_path / RESULTS).open("a") as raw:
        raw.write(result("bias").line()[:kept])
    assert file.read() == [result("mean")]
    file.append(result("bias"))
    assert [each.model for each in file.read()] == ["bias", "mean"]


def test_another_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text(result("mean").line() + "{}\n" + result("bias").line())
    with pytest.raises(InputError, match=r"results\.jsonl, line 2"):
        ResultsFile(tmp_path).read()


def test_a_directory_is_of_one_experiment(tmp_path: Path, pair: DomainPair, setup: Setup) -> None:
    file = ResultsFile(tmp_path)
    file.identify(pair, setup)
    file.identify(pair, replace(setup, config=setup.config_at(0.5)))  # the grid may grow
    other_source = replace(pair.source, file=pair.source.file.model_copy(update={"sha256": "0" * 64}))
    for changed_pair, changed_setup, what in (
        (replace(pair, source=other_source), setup, "source"),
        (pair, replace(setup, preset="paper"), "preset"),
        (pair, replace(setup, config=quick_config("emcdr.lr=0.5")), "settings"),
        (pair, replace(setup, rating_range=(0.0, 5.0)), "rating range"),
    ):
        with pytest.raises(InputError, match=f"differs in {what};"):
            file.identify(changed_pair, changed_setup)


def test_an_experiment_begun_before_a_setting_was_known_goes_on(tmp_path: Path, pair: DomainPair, setup: Setup) -> None:
    file = ResultsFile(tmp_path)
    file.identify(pair, setup)
    known = json.loads((tmp_path / IDENTITY).read_text())
    del known["settings"]["split"]["min_validation_users"]
    (tmp_path / IDENTITY).write_text(json.dumps(known))
    file.identify(pair, setup)
    with pytest.raises(InputError, match="differs in settings"):
        file.identify(pair, replace(setup, config=quick_config("split.min_validation_users=7")))
    del known["settings"]
    (tmp_path / IDENTITY).write_text(json.dumps(known))
    with pytest.raises(InputError, match="differs in"):
        file.identify(pair, setup)


def test_results_of_nobody_knows_what_are_refused(tmp_path: Path, pair: DomainPair, setup: Setup) -> None:
    (tmp_path / RESULTS).write_text(result("mean").line())
    with pytest.raises(InputError, match=r"no experiment\.json"):
        ResultsFile(tmp_path).identify(pair, setup)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        ResultsFile(tmp_path / "file")
    file = ResultsFile(tmp_path / "out")
    (tmp_path / "out" / RESULTS).mkdir()
    with pytest.raises(InputError, match="choose another --out"):
        file.append(result("mean"))
