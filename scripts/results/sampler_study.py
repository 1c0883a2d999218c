"""Quality of each sampler by number of steps: DiffCDR is retrained for each, on the same splits and base models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from matplotlib.figure import Figure

from training.data.domains import DomainPair
from training.experiment.report.figures import COLOURS, MARKERS, ReportFigure
from training.experiment.report.render import Report
from training.experiment.report.tables import ReportTable, TableCell
from training.models.diffusion.sampler_plans import SamplerName
from training.models.network.config import DiffCDRConfig
from training.run.fit import evaluate_test, fit_model
from training.run.prepare import prepare
from training.run.run import Run

SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
NFE = (5, 10, 15, 20, 30)
METRICS = {"rmse_clipped": "RMSE clipped", "mae_clipped": "MAE clipped", "ndcg": "NDCG@20"}
NOTHING_YET = "Nothing has been computed yet; `make results` does."


@dataclass(frozen=True)
class SamplerFigures:
    """On the cold-start test users of one split."""

    sampler: SamplerName
    nfe: int
    seed: int
    rmse_clipped: float
    mae_clipped: float
    ndcg: float


def sampler_study(
    pair: DomainPair, run: Run, *, seeds: Sequence[int], evaluations: Sequence[int] = NFE
) -> Iterator[SamplerFigures]:
    """Fit and measure ``run``'s DiffCDR with every sampler and number of evaluations, on the split of each seed."""
    settings = run.config.diffcdr
    assert isinstance(settings, DiffCDRConfig)
    for seed in seeds:
        prepared = prepare(pair, replace(run, seed=seed))
        for sampler in SAMPLERS:
            for nfe in evaluations:
                changed = settings.model_copy(update={"sampler": sampler, "nfe": nfe})
                config = run.config.model_copy(update={"diffcdr": changed})
                metrics = evaluate_test(
                    fit_model("diffcdr", prepared, replace(run, seed=seed, config=config)), prepared
                )
                assert metrics.rmse_clipped is not None
                assert metrics.mae_clipped is not None
                yield SamplerFigures(sampler, nfe, seed, metrics.rmse_clipped, metrics.mae_clipped, metrics.ndcg)


def samplers_page(found: Sequence[SamplerFigures], *, label: str) -> Report:
    """``samplers.md``: one figure and its numbers; ``label`` says on what data."""
    title = "Samplers: steps against quality"
    if not found:
        return Report(title, (NOTHING_YET,), (), ())
    seeds = sorted({each.seed for each in found})
    said = (
        f"Made by `make results`. {label}, preset `reference`, β = 0.2, cold start, {len(seeds)} seeds; DiffCDR is "
        "retrained for each sampler and number of evaluations (NFE), since its alignment module is trained on the "
        "sampler's output. [What each sampler is](../reference/systems.md#samplers-section-53)."
    )
    return Report(title, (said,), (_table(found, seeds),), (_figure(found),))


def _table(found: Sequence[SamplerFigures], seeds: Sequence[int]) -> ReportTable:
    columns = ("sampler", "NFE", *(f"{label}, seed {seed}" for label in METRICS.values() for seed in seeds))
    by_cell = {(each.sampler, each.nfe, each.seed): each for each in found}
    rows = []
    for sampler, nfe in dict.fromkeys((each.sampler, each.nfe) for each in found):
        figures = [f"{getattr(by_cell[sampler, nfe, seed], field):.4f}" for field in METRICS for seed in seeds]
        rows.append(tuple(map(TableCell, (sampler, str(nfe), *figures))))
    return ReportTable("Every figure", columns, tuple(rows), ())


def _figure(found: Sequence[SamplerFigures]) -> ReportFigure:
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    for number, (field, label) in enumerate(METRICS.items(), start=1):
        axes = figure.add_subplot(1, len(METRICS), number)
        for sampler, colour, marker in zip(SAMPLERS, COLOURS, MARKERS, strict=False):
            mine = [each for each in found if each.sampler == sampler]
            steps = sorted({each.nfe for each in mine})
            values = [[getattr(each, field) for each in mine if each.nfe == nfe] for nfe in steps]
            axes.plot(steps, [sum(each) / len(each) for each in values], color=colour, marker=marker, label=sampler)
            for nfe, each in zip(steps, values, strict=True):
                axes.plot([nfe] * len(each), each, color=colour, marker=".", linestyle="none", alpha=0.5)
        axes.set_xlabel("evaluations (NFE)")
        axes.set_ylabel(label)
    return ReportFigure.of(
        figure,
        name="samplers",
        title="Steps against quality",
        caption="Lines: means over seeds; dots: single seeds. Lower errors and higher NDCG are better.",
    )
