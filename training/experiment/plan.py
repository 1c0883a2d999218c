"""What an experiment is made of: a grid of cells, found to be possible before anything is trained.

cell    one model, one test fraction, one seed, one scenario: one line of ``results.jsonl``
block   all cells of one test fraction and seed: they share the split, the base models and each fitted model
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from diffcdr.errors import InputError
from training.config import TrainConfig
from training.data.domains import DomainPair
from training.data.splits import split_overlap
from training.grids import SettingGrids

MIN_OVERLAP = 50
"""Fewer shared users than this leave test sets on which models cannot be told apart."""

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
    """What is done in one go: one split with its base models, and the scenarios wanted of each model."""

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
    """What all cells share, besides the data."""

    preset: str
    config: TrainConfig
    rating_range: tuple[float, float]
    grids: SettingGrids = SettingGrids()

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


def check_data(pair: DomainPair, setup: Setup, *, test_fractions: Sequence[float]) -> None:
    """Find out before any training whether every cell can be computed.

    Raises:
        InputError: too few users in both domains, a domain of one item, or a fraction that leaves a part without users.
    """
    overlap = len(pair.overlap_source)
    if overlap < MIN_OVERLAP:
        raise InputError(
            f"only {overlap} users occur in both {pair.source.file.name} and {pair.target.file.name}, and an "
            f"experiment needs at least {MIN_OVERLAP} to tell models apart; give files with more shared users"
        )
    for domain in (pair.source, pair.target):
        if len(domain.items) < 2:
            raise InputError(
                f"{domain.file.name} has ratings of {len(domain.items)} item only, which leaves nothing to predict "
                "or to rank; give a file with more items, or name the item's column with --source-columns"
            )
    for fraction in test_fractions:
        split_overlap(
            pair.overlap_ids(),
            test_fraction=fraction,
            validation_fraction=setup.config.split.validation_fraction,
            min_validation_users=setup.config.split.min_validation_users,
            seed=0,
        )
