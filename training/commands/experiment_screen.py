"""Progress of ``diffcdr experiment``: how much there is to do, which cell is computed, and how long the rest takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from diffcdr.progress import amount
from training.experiment.plan import Cell, Grid

BRIEF_S = 5.0
"""Cells of a model that took less than this are not announced in plain output."""
_MANY = 30
"""From so many cells on, a smaller experiment is proposed."""


class CellTimes:
    """How long the cells of each model take, and so those that are left."""

    def __init__(self, cells: Sequence[Cell], seconds: Mapping[Cell, float], *, clock: Callable[[], float]) -> None:
        """``cells``: all of the grid; ``seconds``: of those that are finished; ``clock`` counts seconds."""
        self._left = set(cells) - set(seconds)
        self._clock, self._begun, self._measured = clock, clock(), 0.0
        self._of: dict[tuple[str, str], list[float]] = defaultdict(list)
        for cell, each in seconds.items():
            self._of[cell.model, cell.scenario].append(each)

    def finished(self, cell: Cell, seconds: float) -> None:
        """``cell`` is there; training and measuring took ``seconds``."""
        self._left.discard(cell)
        self._measured += seconds
        self._of[cell.model, cell.scenario].append(seconds)

    def failed(self, cells: Sequence[Cell]) -> None:
        """``cells`` cannot be computed."""
        self._left.difference_update(cells)

    def usual(self, cell: Cell) -> float | None:
        """Mean seconds of the finished cells of the model and scenario of ``cell``; None before there is one."""
        known = self._of.get((cell.model, cell.scenario))
        return sum(known) / len(known) if known else None

    def left(self) -> float | None:
        """Seconds until all cells are finished; None until each model that is left has been measured once.

        Base models and the number of processes are in it by how long the finished cells took by the clock.
        """
        if not self._measured:
            return None
        times = [self.usual(cell) for cell in self._left]
        if any(each is None for each in times):
            return None
        pace = (self._clock() - self._begun) / self._measured
        return pace * sum(each for each in times if each is not None)


def cell_times(cells: Sequence[Cell], seconds: Mapping[Cell, float]) -> CellTimes:
    """:class:`CellTimes` by the clock of the machine."""
    return CellTimes(cells, seconds, clock=time.monotonic)


def plan_notes(grid: Grid, *, finished: int) -> list[str]:
    """How many cells there are and of what; how many are there already; and, where there are many, a smaller run."""
    total = len(grid.cells())
    parts = [amount(len(grid.models), "models"), amount(len(grid.test_fractions), "test fractions")]
    parts += [amount(grid.seeds, "seeds")] + ([f"{len(grid.scenarios)} scenarios"] if len(grid.scenarios) > 1 else [])
    text = f"{total:,} cells: {' × '.join(parts)}"
    if finished:
        text += f"; {finished:,} of them are there already"
    smaller = len(grid.models) * len(grid.scenarios)
    if total - finished < _MANY or total == smaller:
        return [text]
    option = f"--seeds 1 --test-fractions {grid.test_fractions[0]:g}"
    return [text, f"for a first look, {option} computes {smaller:,} cells, and without these options the rest follows"]


def cell_name(cell: Cell) -> str:
    """``dual_ridge, beta 0.2, seed 0, cold``."""
    return f"{cell.model}, beta {cell.test_fraction:g}, seed {cell.seed}, {cell.scenario}"
