"""The two ways to warm a model up, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from training.experiment.report.tables import ReportTable, TableCell, label, shown
from training.experiment.statistics import METRICS, summarise
from training.experiment.summaries import Summaries

SHOWN = tuple(metric for metric in METRICS if metric.field in ("mae", "rmse", "rmse_clipped", "ndcg"))
NOTE = (
    "Moved: the transferred vectors, in closed form, as in serving; the model stays as it is. Trained: the model goes "
    "on training on the known ratings of validation and test users, as in the paper (section 4.1), for as many epochs "
    "as before; the epoch kept is the best on what is judged of the validation users. Both are judged on the same "
    "ratings."
)


def warm_table(summaries: Summaries, *, test_fraction: float, models: Sequence[str]) -> ReportTable | None:
    """Of one test fraction, means over seeds, of models that were trained further; None without any."""
    rows = []
    for model in models:
        cells = summaries.cells(test_fraction, "warm").get(model, [])
        mine = [(cell, cell.fine_tuned) for cell in cells if cell.fine_tuned is not None]
        if not mine:
            continue
        texts = [model]
        for metric in SHOWN:
            for figures in zip(*mine, strict=True):
                values = [value for each in figures if (value := getattr(each, metric.field)) is not None]
                texts.append(shown(summarise(values)) if values else "–")
        rows.append(tuple(map(TableCell, texts)))
    if not rows:
        return None
    columns = ("model", *(f"{metric.label}, {way}" for metric in SHOWN for way in ("moved", "trained")))
    return ReportTable(f"Fine-tuning, {label(test_fraction, 'warm')}", columns, tuple(rows), (NOTE,))
