"""The paper's three tasks: their files, and what the paper reports of them (``paper.toml``)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from diffcdr.errors import InputError
from training.data.domains import DomainPair


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PaperCounts(_Frozen):
    """A task's rows of Table 1, in thousands; pairs are (source, target)."""

    users: tuple[int, int]
    items: tuple[int, int]
    ratings: tuple[int, int]
    overlap: int


class PaperFigures(_Frozen):
    """Rows of Table 2 for one task and test fraction, one figure a model, in the order of ``PaperNumbers.models``."""

    mae: tuple[float, ...]
    rmse: tuple[float, ...]
    ndcg: tuple[float, ...]
    hr: tuple[float, ...]


class PaperTask(_Frozen):
    """One task: file names as published, and Tables 1 to 3, the latter two by test fraction.

    ``table_3``: ablation -> (MAE, RMSE). ``reference``: what the released code sets otherwise than for task 1, as
    settings ``section.key=value``.
    """

    number: int
    source: str
    target: str
    table_1: PaperCounts
    table_2: dict[float, PaperFigures]
    table_3: dict[float, dict[str, tuple[float, float]]]
    reference: tuple[str, ...] = ()

    def files(self, directory: Path) -> tuple[Path, Path]:
        """Where both files lie in ``directory``.

        Raises:
            InputError: one or both are not there.
        """
        paths = directory / self.source, directory / self.target
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise InputError(
                f"{directory} has no {' and no '.join(missing)}, which task {self.number} of the paper needs; put the "
                "5-core review files of the Amazon data of 2014 there under the names they are published by"
            )
        return paths

    def figure(self, model: str, field: str, test_fraction: float) -> float | None:
        """The paper's figure for a field of :class:`~training.experiment.results.CellResult`; None where silent."""
        # The paper has one AT; both readings of it are held against that.
        model = "diffcdr-at" if model == "diffcdr-at-task" else model
        table, ablations = self.table_2.get(test_fraction), self.table_3.get(test_fraction, {})
        if table is not None and model in paper_numbers().models and field in PaperFigures.model_fields:
            column: tuple[float, ...] = getattr(table, field)
            return column[paper_numbers().models.index(model)]
        if model in ablations and field in ("mae", "rmse"):
            return ablations[model][("mae", "rmse").index(field)]
        return None


class PaperSpeeds(_Frozen):
    """Table 4: thousand samples a second."""

    models: tuple[str, ...]
    training: tuple[float, ...]
    test: tuple[float, ...]


class PaperNumbers(_Frozen):
    """All of ``paper.toml``. ``models``: the columns of Table 2; ``discussed``: systems that section 5 discusses."""

    models: tuple[str, ...]
    discussed: tuple[str, ...]
    table_4: PaperSpeeds
    tasks: tuple[PaperTask, ...]


@cache
def paper_numbers() -> PaperNumbers:
    """What the paper reports."""
    text = (resources.files("training") / "experiment" / "paper.toml").read_text(encoding="utf-8")
    return PaperNumbers.model_validate(tomllib.loads(text))


def paper_task(number: int) -> PaperTask:
    """Task ``number``, from 1. Raises InputError where the paper has no such task."""
    for task in paper_numbers().tasks:
        if task.number == number:
            return task
    raise InputError(
        f"--paper-task {number} is none of the paper's; 1 is films to music, 2 books to films, 3 books to music"
    )


def task_of(pair: DomainPair) -> PaperTask | None:
    """The task whose files ``pair`` was read from, told by their names; None for others."""
    names = pair.source.file.name, pair.target.file.name
    return next((task for task in paper_numbers().tasks if (task.source, task.target) == names), None)
