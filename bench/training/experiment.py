"""Bench ``experiment``: every model of the ``reference`` preset on one split, within a limit of three minutes.

Ratings are generated, of the size of Amazon's films and music. There is no reference implementation: the row
compares the seconds (of processor time, on one thread) with the limit, and its ratio is limit over seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Row, Size, limit_row, timed
from diffcdr.errors import DiffCDRError
from training.config import load_preset
from training.data.domains import DomainPair, load_domain, pair_domains
from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write
from training.experiment.plan import Grid, Setup
from training.experiment.runner import Failure, run_blocks
from training.run.model_choice import parse_models

NAME = "experiment"
LIMIT_S = 180.0
TEST_FRACTION = 0.2
SPEC = SynthSpec(users=2_090, items=4_900, ratings_per_user=53, overlap=0.99)
SHORT_SPEC = SynthSpec(users=300, items=400, ratings_per_user=20, overlap=0.99)


def bench(size: Size) -> Iterator[Row]:
    """One row."""
    yield limited(SPEC if size == "full" else SHORT_SPEC, models="all")


def limited(spec: SynthSpec, *, models: str) -> Row:
    """``models`` (all, or a comma-separated list) at one test fraction and seed: base models, fits, evaluations.

    Raises:
        DiffCDRError: a model failed.
    """
    config = load_preset("reference")
    names = parse_models(models, config)
    setup, grid = Setup("reference", config, (1.0, 5.0)), Grid(names, (TEST_FRACTION,), seeds=1)
    pair = _generated(spec)

    def cells() -> None:
        for outcome in run_blocks(pair, setup, grid.blocks(finished=set()), jobs=1):
            if isinstance(outcome, Failure):
                raise DiffCDRError(f"bench experiment: {outcome.reason}")

    seconds = timed(cells)
    ratings = len(pair.source.ratings) + len(pair.target.ratings)
    case = f"{len(names)} models, one split of {ratings:,} ratings"
    return limit_row(NAME, case, figure=seconds, limit=LIMIT_S, unit="s", floor=1.0)


def _generated(spec: SynthSpec) -> DomainPair:
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            path.name.partition(".")[0]: path
            for path, _ in write(generate(spec), Path(folder), file_format=Format.parquet)
        }
        return pair_domains(load_domain(paths["films"]), load_domain(paths["books"]))
