"""Tables come back as the domains they were written from, whole or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from diffcdr.errors import InputError
from tests.unit.training.tiny import RANGE, write_domains
from training.data.domains import DomainPair, load_domain, pair_domains
from training.data.tables import Division, Tables, domain_maker, open_tables, write_tables
from training.data.titles import TitleFile

DIVISION = Division(seed=1, test_fraction=0.2, validation_fraction=0.2)


def write(folder: Path, *, division: Division = DIVISION, shuffle: int | None = None) -> tuple[Tables, DomainPair]:
    source, target = write_domains(folder, shuffle=shuffle)
    makers = [domain_maker(partial(load_domain, path)) for path in (source, target)]
    tables = write_tables(folder / "out", source=makers[0], target=makers[1], division=division, rating_range=RANGE)
    return tables, pair_domains(load_domain(source), load_domain(target))


def test_what_is_opened_is_what_was_read(tmp_path: Path) -> None:
    tables, pair = write(tmp_path)
    opened = open_tables(tmp_path / "out", target_titles=TitleFile(tmp_path / "books_items.csv"))
    assert opened.id == tables.id
    for mine, theirs in ((opened.pair.source, pair.source), (opened.pair.target, pair.target)):
        for name in ("user_rows", "item_rows", "ratings"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        assert mine.users.array.tolist() == theirs.users.array.tolist()
        assert mine.items.array.tolist() == theirs.items.array.tolist()
        assert mine.timestamps is None
        assert mine.file.cleaning == theirs.file.cleaning
        assert mine.report == theirs.report
    np.testing.assert_array_equal(opened.pair.overlap_source, pair.overlap_source)
    assert opened.pair.target.titles is not None
    assert opened.pair.target.titles[0].endswith("(title)")
    assert opened.split.counts() == DIVISION.split(pair).counts()


def test_writing_to_what_is_mapped_reaches_no_file(tmp_path: Path) -> None:
    tables, _ = write(tmp_path)
    tables.pair.source.ratings[:] = 0.0
    assert open_tables(tmp_path / "out").pair.source.ratings.min() >= 1.0


def test_a_failure_leaves_the_tables_that_were_there(tmp_path: Path) -> None:
    before, _ = write(tmp_path)
    with pytest.raises(InputError, match="each needs at least one"):
        write(tmp_path, division=Division(seed=1, test_fraction=0.999, validation_fraction=0.5))
    assert open_tables(tmp_path / "out").id == before.id
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no prepared tables"):
        write(tmp_path)
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("name", ["tables.json", "source/users.npy", "target/ratings.npy", "test.npy"])
def test_a_file_that_is_gone_or_cut_short_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="prepare"):
        open_tables(tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="diffcdr prepare"):
        open_tables(tmp_path / "out")
