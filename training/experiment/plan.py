"""The plan of an experiment: a grid of cells.

cell    one model, one test fraction, one seed, one scenario: one line of ``results.jsonl``
block   all cells of one test fraction and seed: they share the split, the base models and each fitted model
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from diffcdr.errors import InputError
from training.config import TrainConfig
from training.run.grids import SettingGrids

Scenario = Literal["cold", "warm"]
"""``cold``: test users without target ratings. ``warm``: half of each test user's target ratings known."""


@dataclass(frozen=True, order=True)
class Cell:
    """One figure of the grid: ``model`` (a key of ``MODELS``) on the test users of one split."""

    test_fraction: float
    seed: int
    model: str
    scenario: Scenario


@dataclass(frozen=True)
class Block:
    """A unit of work: one split with its base models, and the scenarios of each model."""

    test_fraction: float
    seed: int
    models: tuple[tuple[str, tuple[Scenario, ...]], ...]

    def cells(self) -> list[Cell]:
        """The cells of the block, in the order in which they finish."""
        return [
            Cell(self.test_fraction, self.seed, model, scenario)
            for model, scenarios in self.models
            for scenario in scenarios
        ]


@dataclass(frozen=True)
class Setup:
    """The settings that all cells share."""

    preset: str
    config: TrainConfig
    rating_range: tuple[float, float]
    grids: SettingGrids = SettingGrids()
    sampled_negatives: int = 0
    """Rank against so many sampled items too; 0 leaves that out."""
    source_range: tuple[float, float] | None = None
    """Of the source domain, where it is not ``rating_range``."""

    def config_at(self, test_fraction: float) -> TrainConfig:
        """The settings of the cells with ``test_fraction``."""
        split = self.config.split.model_copy(update={"test_fraction": test_fraction})
        return self.config.model_copy(update={"split": split})


@dataclass(frozen=True)
class Grid:
    """Models x test fractions x seeds 0..``seeds`` - 1 x scenarios."""

    models: tuple[str, ...]
    test_fractions: tuple[float, ...]
    seeds: int
    scenarios: tuple[Scenario, ...] = ("cold",)

    def cells(self) -> list[Cell]:
        """Every cell, block by block; the first seed of every fraction comes first, so that a stop leaves a table."""
        return [
            Cell(fraction, seed, model, scenario)
            for seed in range(self.seeds)
            for fraction in self.test_fractions
            for model in self.models
            for scenario in self.scenarios
        ]

    def blocks(self, *, finished: Iterable[Cell] = ()) -> list[Block]:
        """The blocks with cells that are not in ``finished``, holding those cells alone."""
        done = set(finished)
        blocks = []
        for seed in range(self.seeds):
            for fraction in self.test_fractions:
                wanted = [
                    (model, tuple(each for each in self.scenarios if Cell(fraction, seed, model, each) not in done))
                    for model in self.models
                ]
                wanted = [(model, scenarios) for model, scenarios in wanted if scenarios]
                if wanted:
                    blocks.append(Block(fraction, seed, tuple(wanted)))
        return blocks


def parse_fractions(text: str) -> tuple[float, ...]:
    """``0.2,0.5`` -> the numbers, ascending, each once. Raises InputError where one does not lie between 0 and 1."""
    try:
        fractions = sorted({float(part) for part in text.split(",")})
    except ValueError:
        fractions = []
    if not fractions or not all(0.0 < fraction < 1.0 for fraction in fractions):
        raise InputError(
            f"--test-fractions {text!r} is not understood; write shares between 0 and 1, such as 0.2,0.5,0.8"
        )
    return tuple(fractions)
