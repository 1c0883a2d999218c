from dataclasses import replace
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from tests.unit.training.experiment.samples import result
from training.config import load_preset
from training.data.domains import DomainPair
from training.experiment.paper import paper_numbers, paper_task, task_of
from training.experiment.report.paper_tables import counts_table, figures_table, speeds_table
from training.experiment.summaries import Summaries
from training.models import discussed
from training.models.registry import MODELS


def named(pair: DomainPair, number: int) -> DomainPair:
    """``pair``, as if read from the files of task ``number``."""
    task = paper_task(number)
    source, target = (
        replace(domain, file=domain.file.model_copy(update={"name": name}))
        for domain, name in ((pair.source, task.source), (pair.target, task.target))
    )
    return replace(pair, source=source, target=target)


def test_every_system_of_the_paper_is_one_of_the_models() -> None:
    paper = paper_numbers()
    assert set(paper.models) | set(paper.discussed) <= set(MODELS)
    assert not set(paper.models) & set(paper.discussed)
    assert {path.stem for path in Path(discussed.__file__).parent.glob("*.py")} - {"__init__", "variational"} <= set(
        paper.discussed
    )


def test_figures_are_as_printed() -> None:
    assert [task.number for task in paper_numbers().tasks] == [1, 2, 3]
    for task in paper_numbers().tasks:
        assert sorted(task.table_2) == sorted(task.table_3) == [0.2, 0.5, 0.8]
        for figures in task.table_2.values():
            assert {len(figures.mae), len(figures.rmse), len(figures.ndcg), len(figures.hr)} == {7}
            assert all(mae < rmse for mae, rmse in zip(figures.mae, figures.rmse, strict=True))
    # First, middle and last of Table 2; an ablation of Table 3; what is not there.
    assert paper_task(1).figure("tgt", "mae", 0.2) == 4.4546
    assert paper_task(2).figure("ptupcdr", "rmse", 0.5) == 1.4425
    assert paper_task(3).figure("diffcdr", "hr", 0.8) == 0.00179
    assert paper_task(2).figure("diffcdr-at", "rmse", 0.8) == 1.5968
    assert paper_task(2).figure("diffcdr-at-task", "rmse", 0.8) == 1.5968
    assert paper_task(2).figure("diffcdr-da", "ndcg", 0.8) is None
    assert paper_task(2).figure("bias", "mae", 0.8) is None
    assert paper_task(2).figure("diffcdr", "mae", 0.3) is None


def test_the_released_code_s_batches_are_those_of_the_task() -> None:
    batches = []
    for task in paper_numbers().tasks:
        settings = load_preset("reference", task.reference).model_dump()
        batches.append(tuple(settings[section]["batch_size"] for section in ("base", "diffcdr", "ptupcdr")))
    assert batches == [(256, 128, 128), (512, 512, 512), (512, 128, 512)]


def test_figures_the_paper_has_twice_agree() -> None:
    # Table 3 repeats the best mapping-oriented model and says that of DiffCDR: no ablation of it may beat the whole
    # by more than the paper says, in MAE.
    for task in paper_numbers().tasks:
        for fraction, ablations in task.table_3.items():
            whole = task.figure("diffcdr", "mae", fraction)
            assert whole is not None and all(mae > whole for mae, _ in ablations.values())


def test_the_tasks_files_are_found_by_their_names(tmp_path: Path, pair: DomainPair) -> None:
    task = paper_task(3)
    with pytest.raises(InputError, match=r"no reviews_Books_5\.json\.gz and no reviews_CDs_and_Vinyl_5\.json\.gz"):
        task.files(tmp_path)
    (tmp_path / task.source).touch()
    with pytest.raises(InputError, match=r"has no reviews_CDs_and_Vinyl_5\.json\.gz, which task 3"):
        task.files(tmp_path)
    (tmp_path / task.target).touch()
    assert task.files(tmp_path) == (tmp_path / task.source, tmp_path / task.target)
    assert task_of(pair) is None
    assert task_of(named(pair, 3)) == task
    with pytest.raises(InputError, match="--paper-task 4 is none"):
        paper_task(4)


def test_counts_say_where_they_differ(pair: DomainPair) -> None:
    task = paper_task(1)
    table = counts_table(named(pair, 1), task)
    assert [row[3].text for row in table.rows] == ["differs"] * 7
    assert "users, source" in table.notes[0]
    alike = task.table_1.model_copy(
        update={"users": (0, 0), "items": (0, 0), "ratings": tuple(round(len(d.ratings) / 1000) for d in
                (pair.source, pair.target)), "overlap": 0}
    )  # fmt: skip
    table = counts_table(named(pair, 1), task.model_copy(update={"table_1": alike}))
    assert [row[3].text for row in table.rows] == ["as in the paper"] * 7
    assert "the paper's data" in table.notes[0]


def test_ours_stands_beside_theirs() -> None:
    results = [
        *(result("diffcdr", seed=seed, rmse=rmse, ndcg=0.01) for seed, rmse in ((0, 1.0), (1, 2.0))),
        result("diffcdr-da", rmse=1.25),
        result("bias"),
        result("emcdr", scenario="warm"),
    ]
    table = figures_table(Summaries(results), paper_task(1), test_fraction=0.2)
    assert table is not None
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows == {
        "diffcdr": ["1.0435", "1.5000", "1.3840", "1.5000", "0.01026", "0.01000", "0.00238", "0.01000"],
        "diffcdr-da": ["1.0843", "1.2500", "1.4157", "1.2500", "–", "0.5000", "–", "0.5000"],
    }
    assert figures_table(Summaries([result("bias")]), paper_task(1), test_fraction=0.2) is None
    speeds = speeds_table(Summaries(results))
    assert speeds is not None
    assert [[cell.text for cell in row] for row in speeds.rows] == [["diffcdr", "2.9 K", "1.0 K", "61.5 K", "5.0 K"]]
    assert speeds_table(Summaries([result("bias")])) is None
