"""Report tables of where a model is good: other cutoffs, users by history, items by popularity, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.evaluation.detail import AT, CUTOFFS, FIFTHS, TENTHS, CalibrationBin, Detail
from training.experiment.plan import Scenario
from training.experiment.report.tables import ReportTable, TableCell, label
from training.experiment.statistics import summarise
from training.experiment.summaries import Summaries

DETAILED: Scenario = "cold"
Found = Mapping[str, Sequence[Detail]]
"""[model] -> one for each seed."""

ELSEWHERE = tuple(k for k in CUTOFFS if k != AT)
COLUMNS = (
    *(("ndcg", "NDCG", k) for k in ELSEWHERE),
    *(("hr", "HR", k) for k in ELSEWHERE),
    *(("recall", "Recall", k) for k in ELSEWHERE),
    *(("mrr", "MRR", k) for k in CUTOFFS),
    *(("coverage", "coverage", k) for k in ELSEWHERE),
)
"""Field of :class:`training.evaluation.detail.AtCutoff`, its label, and k; what is not in Table 2."""
CUTOFFS_NOTE = (
    "MRR: mean of 1 / rank of a user's first relevant item, 0 without one among the first k. Coverage: share of the "
    "catalogue in anybody's list."
)
HISTORIES_NOTE = (
    "Users in ten groups of about equal size by their number of source ratings, which brackets give; users with equal "
    "numbers are in one group, and a dash is a group without any. Means over users."
)
POPULARITY_NOTE = (
    "Items in five groups by popularity, each with a fifth of the target's training ratings; brackets give the number "
    f"of items. Found: share of the held-out ratings of these items that are in their user's list of {AT}. Listed: "
    "share of all places of these lists."
)
CALIBRATION_NOTE = (
    "Held-out ratings in ten groups by prediction, clipped to the scale: mean prediction → mean rating. The last column"
    " is the mean absolute difference of the two, weighted by ratings."
)


def details_of(summaries: Summaries, test_fraction: float) -> Found:
    """Of the cold cells of one test fraction that have them."""
    cells = summaries.cells(test_fraction, DETAILED)
    found = {model: [each.detail for each in of if each.detail is not None] for model, of in cells.items()}
    return {model: of for model, of in found.items() if of}


def detail_tables(summaries: Summaries, *, test_fraction: float) -> list[ReportTable]:
    """The tables of one test fraction, means over seeds; none where no cell has these figures."""
    found, place = details_of(summaries, test_fraction), label(test_fraction, DETAILED)
    if not found:
        return []
    tables = [_cutoffs(found, place), _histories(found, place), _popularity(found, place), _calibration(found, place)]
    return [table for table in tables if table is not None]


def _cutoffs(found: Found, place: str) -> ReportTable:
    columns = tuple(f"{name}@{k}" for _, name, k in COLUMNS)

    def value(detail: Detail, column: int) -> float:
        field, _, k = COLUMNS[column]
        return float(getattr(next(each for each in detail.cutoffs if each.k == k), field))

    return _table(
        f"Lists of other lengths, {place}",
        found,
        columns,
        value,
        marked=len(COLUMNS) - len(ELSEWHERE),
        note=CUTOFFS_NOTE,
    )


def _histories(found: Found, place: str) -> ReportTable:
    def value(detail: Detail, column: int) -> float | None:
        return next((each.ndcg for each in detail.users if each.place == column + 1), None)

    groups = [each for of in found.values() for detail in of for each in detail.users]
    columns = []
    for number in range(1, TENTHS + 1):
        own = [each for each in groups if each.place == number]
        lengths = f" ({min(e.shortest for e in own)}–{max(e.longest for e in own)})" if own else ""
        columns.append(f"{number}{lengths}")
    title = f"NDCG@{AT} by length of source history, {place}"
    return _table(title, found, tuple(columns), value, marked=TENTHS, note=HISTORIES_NOTE)


def _popularity(found: Found, place: str) -> ReportTable:
    groups = [each for of in found.values() for detail in of for each in detail.items]
    places = [each for each in (*range(1, FIFTHS + 1), 0) if any(group.place == each for group in groups)]
    fields = [(field, place) for field in ("found", "listed") for place in places]

    def value(detail: Detail, column: int) -> float | None:
        field, place = fields[column]
        return next((getattr(each, field) for each in detail.items if each.place == place), None)

    sizes = {number: [group.items for group in groups if group.place == number] for number in places}
    columns = tuple(
        f"{field}: {_fifth(number)} ({min(sizes[number]):,}" + _to(min(sizes[number]), max(sizes[number])) + ")"
        for field, number in fields
    )
    return _table(
        f"Lists of {AT} by popularity of items, {place}",
        found,
        columns,
        value,
        marked=len(places),
        note=POPULARITY_NOTE,
    )


def _fifth(place: int) -> str:
    return {0: "unrated", 1: "1, most popular", FIFTHS: f"{FIFTHS}, long tail"}.get(place, str(place))


def _to(low: int, high: int) -> str:
    return f"–{high:,}" if high > low else ""


def _calibration(found: Found, place: str) -> ReportTable | None:
    rows = []
    for model, details in found.items():
        bins = [each.calibration for each in details if each.calibration]
        if bins:
            cells = [_predicted_and_actual(bins, number) for number in range(1, TENTHS + 1)]
            error = summarise([_difference(each) for each in bins]).mean
            rows.append(tuple(map(TableCell, (model, *cells, f"{error:.3f}"))))
    if not rows:
        return None
    columns = ("model", *(str(number) for number in range(1, TENTHS + 1)), "mean difference")
    return ReportTable(f"Calibration of predicted ratings, {place}", columns, tuple(rows), (CALIBRATION_NOTE,))


def _predicted_and_actual(bins: Sequence[Sequence[CalibrationBin]], place: int) -> str:
    own = [each for of in bins for each in of if each.place == place]
    if not own:
        return "–"
    return " → ".join(f"{summarise([getattr(e, f) for e in own]).mean:.2f}" for f in ("predicted", "actual"))


def _difference(bins: Sequence[CalibrationBin]) -> float:
    return float(np.average([abs(e.predicted - e.actual) for e in bins], weights=[e.ratings for e in bins]))


def _table(
    title: str,
    found: Found,
    columns: tuple[str, ...],
    value: Callable[[Detail, int], float | None],
    *,
    marked: int,
    note: str,
) -> ReportTable:
    """A row a model, means over seeds of the ``value`` of each column; the best of the first ``marked`` is marked."""
    means: dict[str, list[float | None]] = {}
    for model, details in found.items():
        values = [[value(each, column) for each in details] for column in range(len(columns))]
        there = [[each for each in of if each is not None] for of in values]
        means[model] = [summarise(of).mean if of else None for of in there]
    best = [
        max((each for each in column if each is not None), default=None) for column in zip(*means.values(), strict=True)
    ]
    best[marked:] = [None] * (len(columns) - marked)
    rows = [
        (TableCell(model), *(_cell(mean, top) for mean, top in zip(own, best, strict=True)))
        for model, own in means.items()
    ]
    return ReportTable(title, ("model", *columns), tuple(rows), (note,))


def _cell(mean: float | None, best: float | None) -> TableCell:
    return TableCell("–") if mean is None else TableCell(f"{mean:.4f}", mean == best)
