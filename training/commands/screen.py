"""The output of ``diffcdr train``: cleaning, progress, metrics of all models, and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from diffcdr.bundle.manifest import InputFile, Tuning
from diffcdr.metric_names import TRAINED_BASELINES, best_of, is_better, lower_is_better
from diffcdr.progress import Reporter
from training.data.domains import DomainPair
from training.data.findings import NOTE_LABELS, NOTES
from training.evaluation.evaluate import Metrics
from training.evaluation.paired import paired_difference
from training.fitting.loop import Progress
from training.run.prepare import Prepared

SHOWN_METRICS = ("rmse_clipped", "mae_clipped", "ndcg@20", "hr@20", "recall@20")
"""Columns of the table of models, by their public names."""


def step_name(step: str) -> str:
    """What ``step`` of a run is called: ``base-target-64-complete`` is a base model of 64 dimensions."""
    base, _, rest = step.partition("-")
    if base != "base":
        return step
    side, *more = rest.split("-")
    words = [f"{part} dimensions" if part.isdigit() else "validation users included" for part in more]
    return ", ".join([f"{side} base model", *words])


def split_notes(prepared: Prepared) -> list[str]:
    """What a split by time does with the data; nothing for a split by user."""
    if prepared.cut is None:
        return []
    left_out = (
        f"; {prepared.unknown_items:,} more ratings of items that came later cannot be predicted and are left out"
        if prepared.unknown_items
        else ""
    )
    return [
        f"split by time: training and bundle end at {prepared.cut}; the test is of {len(prepared.split.test):,} users "
        f"who rated in the source by then and in the target only later{left_out}"
    ]


@contextmanager
def epoch_bar(reporter: Reporter, step: str, epochs: int) -> Iterator[Progress]:
    """A progress bar over the ``epochs`` of ``step``; epochs that a resumed run skips count as done."""
    with reporter.task(step_name(step), total=epochs, unit="epochs") as task:
        if epochs == 1:  # in closed form: nothing else is heard until it is done
            task.work_on("fitting", brief=step in TRAINED_BASELINES)

        def show(*, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
            # All the losses beside it would squeeze the bar off the screen; the figure that decides is enough.
            shown = {"validation rmse": figures["rmse"]} if "rmse" in figures else figures
            task.advance(epoch - task.done, **shown)

        yield show


def cleaning_table(files: Sequence[InputFile]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the cleaning table: rows read, left out by reason, and kept; one column per file."""
    reasons = sorted({reason for file in files for reason in file.cleaning})
    rows = [["rows read", *(f"{file.rows_read:,}" for file in files)]]
    rows += [
        [f"left out: {reason.replace('_', ' ')}", *(f"{file.cleaning.get(reason, 0):,}" for file in files)]
        for reason in reasons
    ]
    noted = [note for note in NOTES if any(note in file.noted for file in files)]
    rows += [[f"noted: {NOTE_LABELS[note]}", *(f"{file.noted.get(note, 0):,}" for file in files)] for note in noted]
    rows += [["ratings kept", *(f"{file.rows_kept:,}" for file in files)]]
    return ["", *(file.name for file in files)], rows


def reading_notes(files: Sequence[InputFile]) -> list[str]:
    """One line per file: what was recognised, and how repeated ratings were merged."""
    return [
        f"{file.name}: {'; '.join(f'{what}: {found}' for what, found in file.how.items())}{_rerated(file)}"
        for file in files
        if file.how
    ]


def items_notes(pair: DomainPair) -> list[str]:
    """One line per title or item file: what was recognised, and how many items it describes."""
    notes = []
    for side, domain in (("source", pair.source), ("target", pair.target)):
        file = domain.items_file
        if file is None:
            continue
        parts = [f"{role} {name!r}" for role, name in file.columns.items()]
        kept = domain.attributes.specs()
        parts += [f"{each.name} ({each.kind})" for each in kept[:_SHOWN_ATTRIBUTES]]
        parts += [f"{len(kept) - _SHOWN_ATTRIBUTES} more attributes"] if len(kept) > _SHOWN_ATTRIBUTES else []
        found = f"{file.items_with_row:,} of {file.items:,} {side} items have a row"
        notes.append(f"{file.name}: {', '.join(parts)}; {found}")
    return notes


_SHOWN_ATTRIBUTES = 8


def _rerated(file: InputFile) -> str:
    count = file.cleaning.get("duplicate", 0)
    if not count:
        return ""
    rule = "their mean"
    if "timestamp" in file.how.get("columns", ""):
        rule = "the latest, or the mean where times are equal or unknown,"
    return f"; of several ratings of one item by one user ({count:,} more than one) {rule} was kept"


def metrics_table(models: Mapping[str, Metrics]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the metrics table, one row per model; the best of each column has a ``*``."""
    figures = {name: metrics.as_dict() for name, metrics in models.items()}

    def cell(values: Mapping[str, float], metric: str) -> str:
        if metric not in values:  # the rating error of a model whose scores are not ratings
            return "- "
        rivals = [each[metric] for each in figures.values() if metric in each]
        return f"{values[metric]:.4f}{'*' if values[metric] == best_of(rivals, metric=metric) else ' '}"

    rows = [[name, *(cell(values, metric) for metric in SHOWN_METRICS)] for name, values in figures.items()]
    return ["model", *SHOWN_METRICS], rows


def show_tunings(reporter: Reporter, tunings: Mapping[str, Tuning]) -> None:
    """Show the settings chosen from the grids of each model, and the metric that decided."""
    for name, tuning in tunings.items():
        chosen = ", ".join(f"{key} {value}" for key, value in tuning.chosen.items())
        best = next(trial for trial in tuning.trials if trial.settings == tuning.chosen)
        reporter.note(
            f"{name}: chose {chosen} of {len(tuning.trials)} combinations "
            f"({tuning.metric} {best.validation[tuning.metric]:.4f} on validation users)"
        )


def evidence_notes(published: str, validation: Mapping[str, Metrics]) -> list[str]:
    """One sentence for each other model: how far the published one is ahead on validation users."""
    notes = []
    for name, theirs in validation.items():
        found = paired_difference(validation[published], theirs)
        if name == published or found is None or found.standard_error is None:
            continue
        gain = f"ndcg@{theirs.k} {found.ndcg:+.4f}, standard error {found.standard_error:.4f}"
        notes.append(f"{published} against {name} on validation users: {gain}")
    return notes


def honest_warnings(model: str, models: Mapping[str, Metrics]) -> list[str]:
    """One sentence for each way in which ``model`` is worse than a plain baseline; none where it wins or ties."""
    mine, warnings = models[model].as_dict(), []
    for baseline, metric in (("popular", "ndcg@20"), ("bias", "rmse_clipped")):
        if baseline == model or baseline not in models or metric not in mine:
            continue
        theirs = models[baseline].as_dict()
        if is_better(theirs[metric], mine[metric], metric=metric):
            task = "predicts ratings" if lower_is_better(metric) else "ranks"
            warnings.append(
                f"{model} {task} worse than the {baseline} baseline ({metric} {mine[metric]:.4f} against "
                f"{theirs[metric]:.4f}); do not serve it without a reason"
            )
    return warnings
