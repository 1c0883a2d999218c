"""The examples in the docstrings of the public face: from two rating files to lists, in the order one would go."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import diffcdr
import training
from training.data.synth import SynthSpec, generate
from training.data.synth_files import Format, write

IN_ORDER = (
    training.fit,
    diffcdr.load,
    diffcdr.Recommender.recommend,
    diffcdr.Recommender.recommend_many,
    diffcdr.Recommender.embed,
)


def test_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(generate(SynthSpec(users=600, items=150, ratings_per_user=20)), tmp_path, file_format=Format.csv)
    films = pl.read_csv(tmp_path / "films.csv")
    films.with_columns(pl.col("user_id").replace("ada-00056", "ann")).write_csv(tmp_path / "films.csv")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"np": np}
    for member in IN_ORDER:
        (example,) = doctest.DocTestFinder(recurse=False).find(member, member.__qualname__, globs=names)
        assert example.examples, member
        # One that is copied would lose what the example before it made.
        example.globs = names
        said: list[str] = []
        outcome = doctest.DocTestRunner(verbose=False).run(example, out=said.append, clear_globs=False)
        assert outcome.failed == 0, "".join(said)
