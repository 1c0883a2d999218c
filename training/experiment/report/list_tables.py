"""Report tables on lists: beyond accuracy, and against sampled negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.sampled import SAMPLED_K
from training.experiment.plan import Scenario
from training.experiment.report.tables import ReportTable, TableCell, label, shown
from training.experiment.statistics import summarise
from training.experiment.summaries import Summaries


@dataclass(frozen=True)
class _Column:
    """``field`` of :class:`training.evaluation.beyond.BeyondAccuracy`, shown with ``decimals``."""

    field: str
    label: str
    decimals: int


COLUMNS = (
    _Column("coverage", "coverage@20", 3),
    _Column("novelty", "novelty@20, bits", 2),
    _Column("gini", "Gini@20", 3),
    _Column("head_share", "share of the top 1 %", 3),
    _Column("similarity", "similarity in a list", 3),
)
BEYOND_NOTE = (
    "Coverage: share of the catalogue in anybody's list. Novelty: mean self-information of what is listed. Gini: how "
    "unequally items are listed (0: all alike). Share of the top 1 %: places that go to the hundredth of the items "
    "rated most. Similarity: mean cosine, by who rated them, of two items of one list. None is good or bad by itself."
)


def beyond_table(
    summaries: Summaries, *, test_fraction: float, scenario: Scenario, models: Sequence[str]
) -> ReportTable | None:
    """Of one test fraction and scenario, means over seeds; None where no cell has these figures."""
    rows = []
    for model in models:
        cells = summaries.cells(test_fraction, scenario).get(model, [])
        figures = [cell.beyond for cell in cells if cell.beyond is not None]
        if figures:
            means = (summarise([getattr(each, column.field) for each in figures]).mean for column in COLUMNS)
            shown = (f"{mean:.{column.decimals}f}" for column, mean in zip(COLUMNS, means, strict=True))
            rows.append((TableCell(model), *map(TableCell, shown)))
    if not rows:
        return None
    columns = ("model", *(column.label for column in COLUMNS))
    return ReportTable(f"Lists beyond accuracy, {label(test_fraction, scenario)}", columns, tuple(rows), (BEYOND_NOTE,))


SAMPLED_NOTE = (
    "For comparison with papers that report such figures: each held-out item is ranked alone among sampled items that "
    "the user is not known to have. These figures are not those of Table 2, and may order models otherwise."
)


def sampled_table(summaries: Summaries, *, test_fraction: float, models: Sequence[str]) -> ReportTable | None:
    """Of the cold cells of one test fraction, means over seeds; None where no cell has these figures."""
    rows, counts = [], set()
    for model in models:
        cells = summaries.cells(test_fraction, "cold").get(model, [])
        found = [cell.sampled for cell in cells if cell.sampled is not None]
        if found:
            counts |= {each.negatives for each in found}
            means = (summarise([each.ndcg for each in found]), summarise([each.hr for each in found]))
            rows.append((TableCell(model), *(TableCell(shown(mean)) for mean in means)))
    if not rows:
        return None
    drawn = ", ".join(str(count) for count in sorted(counts))
    columns = ("model", f"NDCG@{SAMPLED_K} ({drawn} sampled)", f"HR@{SAMPLED_K} ({drawn} sampled)")
    return ReportTable(f"Sampled negatives, {label(test_fraction, 'cold')}", columns, tuple(rows), (SAMPLED_NOTE,))
