"""The report's table of ranking against sampled negatives, apart from the figures over all items."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.sampled import SAMPLED_K
from training.experiment.report.tables import ReportTable, TableCell, label, shown
from training.experiment.results import CellResult
from training.experiment.statistics import summarise

NOTE = (
    "For comparison with papers that report such figures: each held-out item is ranked alone among sampled items that "
    "the user is not known to have. These figures are not those of Table 2, and may order models otherwise."
)


def sampled_table(results: Sequence[CellResult], *, test_fraction: float, models: Sequence[str]) -> ReportTable | None:
    """Of the cold cells of one test fraction, means over seeds; None where no cell has these figures."""
    rows, counts = [], set()
    for model in models:
        found = [
            result.sampled
            for result in results
            if (result.model, result.test_fraction, result.scenario) == (model, test_fraction, "cold")
            and result.sampled is not None
        ]
        if found:
            counts |= {each.negatives for each in found}
            means = (summarise([each.ndcg for each in found]), summarise([each.hr for each in found]))
            rows.append((TableCell(model), *(TableCell(shown(mean)) for mean in means)))
    if not rows:
        return None
    drawn = ", ".join(str(count) for count in sorted(counts))
    columns = ("model", f"NDCG@{SAMPLED_K} ({drawn} sampled)", f"HR@{SAMPLED_K} ({drawn} sampled)")
    return ReportTable(f"Sampled negatives, {label(test_fraction, 'cold')}", columns, tuple(rows), (NOTE,))
