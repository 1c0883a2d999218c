"""Base models beside the tables they were fitted on, so that training need not fit them: one folder each.

    TABLES/base/source-64/ target-64/ complete-64/ ...   user_vectors item_vectors item_biases (.npy), base.json

``target`` has seen no rating of validation and test users, ``complete`` none of test users (for the refit once all is
chosen). Arrays are mapped into memory when they are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from diffcdr.atomic import replacing_directory
from diffcdr.errors import InputError
from training.base_models.config import ALSConfig
from training.config import TrainConfig
from training.data.tables import Tables
from training.models.registry import BaseConfig
from training.problem import FactorTables, ImplicitFeedback

FOLDER, FACTS = "base", "base.json"

BaseRole = Literal["source", "target", "complete"]


@dataclass(frozen=True)
class BaseTask:
    """One base model to fit. ``held``: int64, ascending rows of users whose ratings it must not see. ``dim``: k."""

    role: BaseRole
    folder: Path
    """Of the domain's arrays."""
    held: npt.NDArray[np.int64]
    rows: int
    n_users: int
    n_items: int
    config: BaseConfig
    dim: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder, and of its random stream."""
        return f"{self.role}-{self.dim}"


@dataclass(frozen=True)
class BaseFit:
    """What :data:`FitBase` leaves besides the arrays."""

    offset: float
    feedback: ImplicitFeedback | None = None


FitBase = Callable[[BaseTask, Path], BaseFit]
"""Fits a base model, and writes ``user_vectors``, ``item_vectors`` and ``item_biases`` to the folder."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    tables: str
    config: dict[str, Any]
    engine: str
    offset: float
    confidence: float | None = None
    regularisation: float | None = None


def base_tasks(tables: Tables, config: TrainConfig) -> Iterator[BaseTask]:
    """Every base model that training on ``tables`` with ``config`` asks for, smallest k first."""
    base, pair, split = config.base, tables.pair, tables.split
    dims = base.dims() if isinstance(base, ALSConfig) else (base.dim,)
    tested = pair.overlap_target[split.test]
    held: dict[BaseRole, npt.NDArray[np.int64]] = {
        "source": tested[:0],
        "target": np.sort(np.concatenate([tested, pair.overlap_target[split.validation]])),
    }
    if isinstance(base, ALSConfig) and base.refit:
        held["complete"] = np.sort(tested)
    for dim in sorted(dims):
        for role, rows in held.items():
            domain = pair.source if role == "source" else pair.target
            yield BaseTask(
                role=role,
                folder=tables.path / ("source" if role == "source" else "target"),
                held=rows,
                rows=len(domain.ratings),
                n_users=len(domain.users),
                n_items=len(domain.items),
                config=base,
                dim=dim,
                seed=tables.facts.division.seed,
            )


def fit_bases(tables: Tables, config: TrainConfig, fit: FitBase, *, engine: str) -> Iterator[tuple[BaseTask, bool]]:
    """Fit what is not there yet, one after the other; yields each task, and whether it was there.

    Raises:
        InputError: the folder cannot be written; also as ``fit``.
    """
    for task in base_tasks(tables, config):
        folder = tables.path / FOLDER / task.name
        if _matching(folder, tables, config, engine=engine):
            yield task, True
            continue
        try:
            with replacing_directory(folder) as staging:
                fitted = fit(task, staging)
                facts = _Facts(
                    tables=tables.id,
                    config=config.base.model_dump(mode="json"),
                    engine=engine,
                    offset=fitted.offset,
                    confidence=fitted.feedback.confidence if fitted.feedback else None,
                    regularisation=fitted.feedback.regularisation if fitted.feedback else None,
                )
                (staging / FACTS).write_text(facts.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write to {folder}: {error.strerror or error}; make room there, or check its permissions"
            ) from error
        yield task, False


def save_base(folder: Path, base: FactorTables) -> BaseFit:
    """Write a base model that fits into memory, as :data:`FitBase` has to."""
    for name in ("user_vectors", "item_vectors", "item_biases"):
        np.save(folder / f"{name}.npy", getattr(base, name).numpy())
    return BaseFit(base.offset, base.feedback)


class StoredBases:
    """The base models of ``tables`` and ``config``, as training asks for them."""

    def __init__(self, tables: Tables, config: TrainConfig) -> None:
        self._tables = tables
        self._tasks = {(task.role, task.dim): task for task in base_tasks(tables, config)}
        self._default = min(dim for _, dim in self._tasks)
        missing = [task.name for task in self._tasks.values() if not _matching(self._path(task), tables, config)]
        if missing:
            raise InputError(
                f"{tables.path / FOLDER} lacks base models for these settings ({', '.join(missing)}); run "
                "diffcdr base with the same preset and settings, or remove the folder to fit them here"
            )

    @staticmethod
    def there(tables: Tables) -> bool:
        """Whether any were fitted."""
        return (tables.path / FOLDER).is_dir()

    def __call__(self, role: str, dim: int | None) -> FactorTables:
        """The base model of ``role`` with k = ``dim`` (None where there is one k)."""
        folder = self._path(self._tasks[_role(role), dim or self._default])
        facts = _Facts.model_validate_json((folder / FACTS).read_text())
        arrays = {
            name: torch.from_numpy(np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")))
            for name in ("user_vectors", "item_vectors", "item_biases")
        }
        feedback = None
        if facts.confidence is not None and facts.regularisation is not None:
            feedback = ImplicitFeedback(facts.confidence, facts.regularisation)
        with_zeros = facts.config.get("negatives", 0) > 0
        return FactorTables(**arrays, offset=facts.offset, feedback=feedback, with_zeros=with_zeros)

    def _path(self, task: BaseTask) -> Path:
        return self._tables.path / FOLDER / task.name


def _role(text: str) -> BaseRole:
    roles: dict[str, BaseRole] = {"source": "source", "target": "target", "complete": "complete"}
    return roles[text]


def _matching(folder: Path, tables: Tables, config: TrainConfig, *, engine: str | None = None) -> bool:
    try:
        facts = _Facts.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValidationError):
        return False
    alike = facts.tables == tables.id and facts.config == config.base.model_dump(mode="json")
    return alike and engine in (None, facts.engine)
