"""docs/how-to/scale.md holds what its script makes of the figures beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.benches import BENCHES
from bench.search import ann
from diffcdr.errors import InputError
from scripts.scale_page import FIGURES, PAGE, TABLES, Curve, Figures, page


def test_the_page_is_what_the_figures_give() -> None:
    text = PAGE.read_text()
    assert page(text, Figures.read(FIGURES)) == text


def test_figures_are_lines_of_benches_there_are() -> None:
    lines = [json.loads(line) for line in FIGURES.read_text().splitlines()]
    assert {line["bench"] for line in lines} <= BENCHES.keys()
    assert all(line["ours"] > 0.0 for line in lines)


def test_another_figure_makes_another_table() -> None:
    figures = Figures.read(FIGURES)
    faster = Figures([type(line)(line.bench, line.case, 2 * line.ours, 2 * line.baseline) for line in figures.lines])
    for make in TABLES.values():
        assert make(faster) != make(figures)


@given(
    rates=st.lists(st.floats(1.0, 1e6), min_size=2, max_size=5),
    size=st.floats(10.0, 1e7),
)
def test_a_curve_goes_through_its_points_and_stays_between_neighbours(rates: list[float], size: float) -> None:
    points = tuple((10.0 ** (place + 1), rate) for place, rate in enumerate(rates))
    curve = Curve(points)
    for known, rate in points:
        assert curve.at(known) == pytest.approx(rate)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 <= size <= x1:
            assert min(y0, y1) * 0.999 <= curve.at(size) <= max(y0, y1) * 1.001
    assert curve.mark(points[-1][0]) == "" and curve.mark(2 * points[-1][0]) == "~"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="diffcdr bench prepare"):
        TABLES["users"](Figures([]))
    with pytest.raises(InputError, match="cannot read figures"):
        Figures.read(tmp_path / "none")
    with pytest.raises(InputError, match="no place for the table users"):
        page("", Figures([]))


def test_the_item_index_is_measured_beside_the_exact_search() -> None:
    searched, found, made, held = ann.compare(items=3_000, dim=4, users=20)
    assert (searched.unit, found.unit, made.unit, held.unit) == ("users/s", "share", "items/s", "bytes/item")
    assert found.floor is not None and found.floor <= found.ours <= 1.0
    assert made.ours < made.baseline and held.baseline == 4 * (4 + 1) < held.ours
