import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.errors import InputError
from training.experiment.plan import Grid, parse_fractions

GRID = Grid(("mean", "bias", "emcdr"), (0.2, 0.5), 3, ("cold", "warm"))


def test_a_grid_has_every_combination_once() -> None:
    cells = GRID.cells()
    assert len(cells) == len(set(cells)) == 3 * 2 * 3 * 2
    assert [cell for block in GRID.blocks() for cell in block.cells()] == cells


@given(st.sets(st.sampled_from(GRID.cells())))
def test_blocks_hold_what_is_not_finished_and_no_more(finished: set) -> None:
    blocks = GRID.blocks(finished=finished)
    assert [cell for block in blocks for cell in block.cells()] == [c for c in GRID.cells() if c not in finished]
    assert all(block.models for block in blocks)
    assert len({(block.test_fraction, block.seed) for block in blocks}) == len(blocks)


def test_fractions() -> None:
    assert parse_fractions("0.8, 0.2,0.2") == (0.2, 0.8)
    for text in ("", "0", "1", "0.2,", "0.2;0.5", "nan", "-0.1", "1e400"):
        with pytest.raises(InputError, match="--test-fractions"):
            parse_fractions(text)
