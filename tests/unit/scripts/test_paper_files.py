"""Drawn files like the paper's: read as they are, with its counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.paper_files import write_files
from training.experiment.paper import paper_task
from training.run.prepare import DomainFile, load_pair


def test_every_task_has_the_counts_of_table_1(tmp_path: Path) -> None:
    share = 0.01
    written = write_files(tmp_path, share=share)
    assert len(written) == 3
    for number in (1, 2, 3):
        task = paper_task(number)
        source, target = task.files(tmp_path)
        pair = load_pair(DomainFile(source), DomainFile(target), rating_range=(1.0, 5.0))
        printed = task.table_1
        for place, domain in enumerate((pair.source, pair.target)):
            assert len(domain.users) == 1000 * share * printed.users[place]
            assert len(domain.items) == 1000 * share * printed.items[place]
            # Two tasks have the films' ratings, rounded differently.
            assert len(domain.ratings) == pytest.approx(1000 * share * printed.ratings[place], abs=1000 * share)
        assert len(pair.overlap_source) == 1000 * share * printed.overlap


def test_a_seed_fixes_the_files(tmp_path: Path) -> None:
    first, again, other = (
        write_files(tmp_path / str(run), share=0.002, seed=seed)[0].read_bytes() for run, seed in enumerate((1, 1, 2))
    )
    assert first == again != other
