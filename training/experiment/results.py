"""``results.jsonl``: one line per finished cell, and ``experiment.json``, which identifies the experiment.

A line is appended with a single write and synced, so that a killed run leaves at worst one broken last line; it is
cut off when the run goes on. ``experiment.json`` holds what all lines have in common; a directory that was begun with
other data or settings is refused rather than mixed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffcdr.atomic import replacing_file
from diffcdr.bundle.manifest import Tuning
from diffcdr.errors import InputError
from training.config import TrainConfig
from training.data.domains import DomainPair
from training.evaluation.beyond import BeyondAccuracy
from training.evaluation.detail import Detail
from training.evaluation.sampled import SampledRanking
from training.experiment.plan import Cell, Scenario, Setup
from training.experiment.warm_scenario import FineTunedFigures, WarmPoint

RESULTS = "results.jsonl"
IDENTITY = "experiment.json"


class CellResult(BaseModel):
    """One line. Metrics: :class:`training.evaluation.evaluate.Metrics`, on the test users, once.

    The rating errors are None for a model whose scores are not ratings. ``train_rate``: rows a second that training
    went through, None for models that do not count rows; ``transfer_rate``: users a second carried across, in one
    batch of at least 10,000; ``served_rate``: the same the way it is served, of seed 0 alone. ``seconds``: training and
    measuring, without the base models. ``epochs``: the figures after each epoch; ``best_epoch`` (from 1) is the one
    kept, on the validation users. ``beyond``: figures of the lists at 20, None where they were not measured.
    ``detail``: of cold cells, lists of other lengths and groups of users and items.
    ``first_ratings``: of the warm scenario, with the first few ratings.
    ``fine_tuned``: of the warm scenario by training further; None for a model without epochs.
    ``tuning``: what was tried, where settings were chosen from grids.
    ``sampled``: ranking against sampled negatives, of cold cells where it was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    model: str
    preset: str
    test_fraction: float
    seed: int
    scenario: Scenario
    mae: float | None
    rmse: float | None
    mae_clipped: float | None
    rmse_clipped: float | None
    ndcg: float = Field(validation_alias="ndcg@20", serialization_alias="ndcg@20")
    hr: float = Field(validation_alias="hr@20", serialization_alias="hr@20")
    recall: float = Field(validation_alias="recall@20", serialization_alias="recall@20")
    train_rate: float | None = Field(validation_alias="train rows/s", serialization_alias="train rows/s")
    transfer_rate: float = Field(validation_alias="transfer users/s", serialization_alias="transfer users/s")
    served_rate: float | None = Field(
        default=None, validation_alias="served users/s", serialization_alias="served users/s"
    )
    seconds: float
    users: int
    ratings: int
    best_epoch: int
    epochs: tuple[dict[str, float], ...] = ()
    beyond: BeyondAccuracy | None = None
    detail: Detail | None = None
    first_ratings: tuple[WarmPoint, ...] = ()
    fine_tuned: FineTunedFigures | None = None
    tuning: Tuning | None = None
    sampled: SampledRanking | None = None
    versions: dict[str, str]

    @property
    def cell(self) -> Cell:
        """Its place in the grid."""
        return Cell(self.test_fraction, self.seed, self.model, self.scenario)

    def metrics(self) -> dict[str, float]:
        """The figures on the test users that there are, by their public names."""
        names = {"mae", "rmse", "mae_clipped", "rmse_clipped", "ndcg", "hr", "recall"}
        return self.model_dump(include=names, by_alias=True, exclude_none=True)

    def line(self) -> str:
        """As JSON, with the public names and a line end."""
        return self.model_dump_json(by_alias=True) + "\n"


class ResultsFile:
    """The results in a directory.

    Raises:
        InputError: by every method, where the directory cannot be written or read.
    """

    def __init__(self, directory: Path) -> None:
        """Make ``directory`` if it is not there, and see that it can be written."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                pass
        except OSError as error:
            raise _unwritable(directory, error) from error

    def identify(self, pair: DomainPair, setup: Setup) -> None:
        """Write the identity of the experiment, or check that the directory holds the same one.

        Raises:
            InputError: other data or settings were used here.
        """
        mine, path = _identity(pair, setup), self.directory / IDENTITY
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if (self.directory / RESULTS).exists():
                raise InputError(
                    f"{self.directory} holds {RESULTS} but no {IDENTITY}, so it is unknown what was measured; "
                    "choose another --out"
                ) from None
            self.write_text(IDENTITY, json.dumps(mine, indent=2) + "\n")
            return
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        try:
            theirs = {"grid": {}, "sampled negatives": 0} | json.loads(text)  # older files know none
            theirs["settings"] = _completed(theirs["settings"])
        except (ValueError, KeyError, TypeError):
            theirs = {}
        different = [name for name, value in mine.items() if theirs.get(name) != value]
        if different:
            raise InputError(
                f"{self.directory} holds an experiment that differs in {', '.join(different)}; "
                "choose another --out, or give the same options to go on with it"
            )

    def read(self) -> list[CellResult]:
        """All finished cells, each once, in order of the grid's cells; a broken last line is cut off.

        Raises:
            InputError: another line is broken.
        """
        path = self.directory / RESULTS
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        results: dict[Cell, CellResult] = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                result = CellResult.model_validate_json(line)
            except ValidationError as error:
                raise InputError(
                    f"{path}, line {number}, is not a result of this version; delete the line to have it computed "
                    "again, or choose another --out"
                ) from error
            results[result.cell] = result
        return [results[cell] for cell in sorted(results)]

    def append(self, result: CellResult) -> None:
        """Keep ``result`` before anything else is begun."""
        try:
            handle = os.open(self.directory / RESULTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, result.line().encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise _unwritable(self.directory, error) from error

    def write_text(self, name: str, text: str) -> Path:
        """Put a file of the report in place, whole."""
        return self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Put a file in place, whole."""
        path = self.directory / name
        try:
            with replacing_file(path) as staging:
                staging.write_bytes(content)
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        return path


def of_cells(results: Iterable[CellResult], cells: Iterable[Cell]) -> list[CellResult]:
    """The results that belong to ``cells``."""
    wanted = set(cells)
    return [result for result in results if result.cell in wanted]


def _identity(pair: DomainPair, setup: Setup) -> dict[str, Any]:
    return {
        "source": {"name": pair.source.file.name, "sha256": pair.source.file.sha256},
        "target": {"name": pair.target.file.name, "sha256": pair.target.file.sha256},
        "preset": setup.preset,
        "settings": _settings(setup.config),
        "rating range": list(setup.rating_range),
        **({} if setup.source_range is None else {"source range": list(setup.source_range)}),
        "grid": setup.grids.as_dict(),
        "sampled negatives": setup.sampled_negatives,
    }


def _settings(config: TrainConfig) -> dict[str, Any]:
    settings = config.model_dump(mode="json")
    del settings["split"]["test_fraction"]  # the grid's own
    return settings


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` as written, with those that came later at their defaults, which leave a model as it was."""
    return _settings(TrainConfig.model_validate(settings))


def _unwritable(directory: Path, error: OSError) -> InputError:
    return InputError(f"cannot use {directory} for results: {error.strerror}; choose another --out")
