"""A small pair of domains with a planted taste, as files, and settings under which training takes a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from training.config import TrainConfig, load_preset
from training.data.domains import DomainPair
from training.data.titles import TitleFile
from training.run.prepare import DomainFile, Prepared, load_pair, prepare
from training.run.run import Run

RANGE = (1.0, 5.0)
QUICK = ["base.epochs=2", "base.dim=4", "diffcdr.hidden_dim=8", "diffcdr.epochs=1", "diffcdr.nfe=1", "emcdr.epochs=2"]
N_SHARED = 60


def write_domains(folder: Path, *, shuffle: int | None = None) -> tuple[Path, Path]:
    """``films.csv`` and ``books.csv``: users u000..u059 in both, ten more in each alone, 30 and 25 items, titles."""
    random = np.random.default_rng(11)
    taste = random.normal(size=(N_SHARED + 20, 3))
    paths = []
    for name, first, n_items in (("films", 0, 30), ("books", 10, 25)):
        users = [*range(N_SHARED), *range(N_SHARED + first, N_SHARED + first + 10)]
        scores = 3.2 + taste @ random.normal(size=(3, n_items)) * 0.7 + 0.3 * random.normal(size=(len(taste), n_items))
        rated = random.random(scores.shape) < 0.4
        rated[:, 0] = True
        pairs = [(user, item) for user in users for item in np.flatnonzero(rated[user])]
        frame = pl.DataFrame(
            {
                "user_id": [f"u{user:03}" for user, _ in pairs],
                "item_id": [f"{name}-{item:02}" for _, item in pairs],
                "rating": [float(np.clip(np.round(scores[user, item]), *RANGE)) for user, item in pairs],
            }
        )
        if shuffle is not None:
            frame = frame.sample(fraction=1.0, shuffle=True, seed=shuffle)
        path = folder / f"{name}.csv"
        frame.write_csv(path)
        items = pl.DataFrame({"item_id": [f"{name}-{item:02}" for item in range(n_items)]})
        items.with_columns(title=pl.col("item_id") + " (title)").write_csv(folder / f"{name}_items.csv")
        paths.append(path)
    return paths[0], paths[1]


def load(folder: Path, *, shuffle: int | None = None) -> DomainPair:
    """The domains of :func:`write_domains`, read back, with titles for the target."""
    folder.mkdir(exist_ok=True)
    source, target = write_domains(folder, shuffle=shuffle)
    return load_pair(
        DomainFile(source), DomainFile(target, titles=TitleFile(folder / "books_items.csv")), rating_range=RANGE
    )


def quick_config(*overrides: str, preset: str = "reference") -> TrainConfig:
    """``preset``, made quick."""
    return load_preset(preset, [*QUICK, *overrides])


def quick_run(*overrides: str, seed: int = 0, checkpoints: Path | None = None) -> Run:
    """A run of :func:`quick_config`."""
    return Run(config=quick_config(*overrides), seed=seed, rating_range=RANGE, checkpoints=checkpoints)


def quick_prepared(folder: Path, run: Run) -> Prepared:
    """:func:`load`, prepared."""
    return prepare(load(folder), run)
