from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.errors import InputError
from diffcdr.ids import IdTable
from training.data.domains import DomainPair
from training.experiment.plan import Grid, Setup, check_data, parse_fractions

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


def test_too_few_shared_users(pair: DomainPair, setup: Setup) -> None:
    check_data(replace(pair, overlap_source=pair.overlap_source[:50], overlap_target=pair.overlap_target[:50]),
               setup, test_fractions=[0.2, 0.5, 0.8])  # fmt: skip
    few = replace(pair, overlap_source=pair.overlap_source[:49], overlap_target=pair.overlap_target[:49])
    with pytest.raises(InputError, match=r"only 49 users .* at least 50"):
        check_data(few, setup, test_fractions=[0.2])


def test_a_domain_of_one_item(pair: DomainPair, setup: Setup) -> None:
    target = replace(pair.target, items=IdTable.build(["the only one"]), item_rows=np.zeros_like(pair.target.item_rows))
    with pytest.raises(InputError, match=r"books\.csv has ratings of 1 item only"):
        check_data(replace(pair, target=target), setup, test_fractions=[0.2])


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_fraction_that_leaves_nobody(pair: DomainPair, setup: Setup, fraction: float) -> None:
    with pytest.raises(InputError, match=f"test fraction {fraction:g}.*each needs at least one"):
        check_data(pair, setup, test_fractions=[0.5, fraction])
