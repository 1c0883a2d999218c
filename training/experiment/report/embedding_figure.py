"""Figure 4, and a table with its distances in numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from scipy.linalg import sqrtm

from training.experiment.embedding import DIM, SOURCE, TRUE, Panel, Sample
from training.experiment.report.figures import COLOURS, ReportFigure, style_of
from training.experiment.report.tables import ReportTable, TableCell
from training.models.registry import MODELS

NEIGHBOURS = 10
PARTS = {"train": "training users", "test": "test users"}

Floats = npt.NDArray[np.floating]


def embedding_figure(sample: Sample) -> ReportFigure | None:
    """Figure 4, panels (a) to (d) as in the paper; None without any."""
    if not sample.panels:
        return None
    rows = (len(sample.panels) + 1) // 2
    figure = Figure(figsize=(10.0, 4.9 * rows), layout="constrained")
    for place, panel in enumerate(sample.panels, start=1):
        axes = figure.add_subplot(rows, 2, place)
        _draw(axes, panel)
        axes.set_title(f"({'abcd'[place - 1]}) {_what(panel)}", fontsize="medium")
    return ReportFigure.of(
        figure,
        name="figure-4",
        title="Figure 4. Transferred against true target vectors",
        caption=f"t-SNE, β = {sample.test_fraction:g}, seed 0; each panel is a map of its own, of the same users for "
        "every colour. True vectors (triangles) are of a base model that has seen the test users' ratings as well. "
        "Models are those that score with the target base model's items. NFE: guided evaluations by the solver; shown "
        "is the diffusion module before its alignment, as in the paper.",
        legend=False,
    )


def embedding_table(sample: Sample) -> ReportTable | None:
    """One row a cloud of Figure 4: how far it is from the true vectors; None without any."""
    rows = []
    for panel in sample.panels:
        true = panel.clouds[TRUE].vectors
        for name, cloud in panel.clouds.items():
            if name == TRUE or (name == DIM and panel.kind == "nfe"):
                continue
            figures = (
                f"{distance(cloud.vectors, true):.3f}",
                f"{frechet(cloud.vectors, true):.3f}",
                f"{mixing(cloud.vectors, true):.3f}",
            )
            rows.append(tuple(map(TableCell, (name, PARTS[panel.part], *figures))))
    if not rows:
        return None
    notes = (
        "Distance: mean Euclidean distance of a user's vector to the true one, in units of the true vectors' own root "
        "mean square distance from their mean. Fréchet: between normal distributions fitted to both clouds, in the "
        f"square of those units. Mixing: among the {NEIGHBOURS} nearest neighbours, in both clouds together, of each "
        "true vector, the share that are transferred ones: 0 when the clouds are apart, about 0.5 when one cannot be "
        "told from the other. All in the vectors' own space, not in the map of t-SNE.",
    )
    columns = ("vectors", "users", "distance", "Fréchet", "mixing")
    return ReportTable("Figure 4 in numbers", columns, tuple(rows), notes)


def distance(vectors: Floats, true: Floats) -> float:
    """Mean distance of row i of ``vectors`` to row i of ``true``, both [U, k], in spreads of ``true``."""
    apart = np.linalg.norm(vectors.astype(np.float64) - true.astype(np.float64), axis=1)
    return float(apart.mean() / _spread(true))


def frechet(vectors: Floats, true: Floats) -> float:
    """Squared Fréchet distance of the normal distributions fitted to both, [U, k] each, in squared spreads of ``true``.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau, 1982).
    """
    first, second = vectors.astype(np.float64), true.astype(np.float64)
    cov_1, cov_2 = np.cov(first.T), np.cov(second.T)
    root = np.real(sqrtm(cov_1 @ cov_2))
    gap = np.square(first.mean(axis=0) - second.mean(axis=0)).sum() + np.trace(cov_1 + cov_2 - 2.0 * root)
    return float(max(gap, 0.0) / _spread(true) ** 2)


def mixing(vectors: Floats, true: Floats) -> float:
    """Share of ``vectors`` among the nearest neighbours of each of ``true`` in both together."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - takes a second to load; most experiments do without

    both = np.concatenate([true, vectors]).astype(np.float64)
    neighbours = min(NEIGHBOURS, len(both) - 1)
    search = NearestNeighbors(n_neighbors=neighbours + 1).fit(both)
    found = search.kneighbors(both[: len(true)], return_distance=False)
    own = found == np.arange(len(true))[:, None]
    return float((found >= len(true)).sum() / (~own).sum())


def _spread(vectors: Floats) -> float:
    exact = vectors.astype(np.float64)
    return max(float(np.sqrt(np.square(exact - exact.mean(axis=0)).sum(axis=1).mean())), 1e-12)


def _draw(axes: Axes, panel: Panel) -> None:
    named = {style_of(name)[0] for name in panel.clouds if name in MODELS}
    colours = (colour for colour in COLOURS if colour not in named)
    for name, cloud in panel.clouds.items():
        if name == TRUE:
            continue
        colour = "#999999" if name == SOURCE else style_of(name)[0] if name in MODELS else next(colours)
        axes.add_patch(_dots(cloud.places, colour))
        axes.plot([], [], "o", markersize=4, color=colour, label=name)  # for the legend alone
    true = panel.clouds[TRUE].places
    axes.scatter(true[:, 0], true[:, 1], s=11, color="black", marker="^", linewidths=0, label=TRUE)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, fontsize="small", frameon=False)


def _dots(places: Floats, colour: str) -> PathPatch:
    """Points as the round ends of lines without length: one path, a third of the size of a mark for each."""
    path = Path(np.repeat(places, 2, axis=0), np.tile([Path.MOVETO, Path.LINETO], len(places)))
    path.should_simplify = False
    return PathPatch(path, facecolor="none", edgecolor=colour, linewidth=2.8, capstyle="round")


def _what(panel: Panel) -> str:
    what = "models" if panel.kind == "models" else "DiffCDR by number of evaluations"
    return f"{what}, {PARTS[panel.part]}"
