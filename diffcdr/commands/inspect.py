"""What ``diffcdr inspect`` shows of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from diffcdr.bundle.display_tables import HISTORY_FOLDER, MAP_FOLDER
from diffcdr.bundle.manifest import InputFile, Manifest
from diffcdr.progress import make_table
from diffcdr.search.approximate import describe

LOWER_IS_BETTER = frozenset({"rmse", "mae", "mse", "logloss"})
DESCRIPTIVE = frozenset({"coverage", "novelty", "gini", "head_share", "similarity"})
"""Figures that say what lists are like (docs/metrics.md): shown apart, and nobody is best in them."""
PLAIN_BASELINES = ("popular", "bias", "global_mean", "mean")
"""Models that know nothing of the user's taste; whatever loses to one of them should not be served."""


@dataclass(frozen=True)
class Shortfall:
    """The bundle's model is worse than a plain baseline in one metric of one scope."""

    scope: str
    metric: str
    baseline: str
    model_value: float
    baseline_value: float

    def __str__(self) -> str:
        return (
            f"{self.scope} {self.metric}: this model {self.model_value:.4f}, "
            f"the plain baseline {self.baseline!r} {self.baseline_value:.4f}"
        )


def shortfalls(manifest: Manifest) -> list[Shortfall]:
    """Where the model is worse than a plain baseline on the same split, by scope and metric."""
    found = []
    for scope, models in manifest.metrics.items():
        mine = models.get(manifest.model, {})
        for metric, value in mine.items():
            if _base_name(metric) in DESCRIPTIVE:
                continue
            for baseline in PLAIN_BASELINES:
                other = models.get(baseline, {}).get(metric)
                if other is not None and baseline != manifest.model and _better(metric, other, value):
                    found.append(Shortfall(scope, metric, baseline, value, other))
    return found


def render(manifest: Manifest, bundle_id: str, *, console: Console) -> None:
    """Show everything about a bundle, and warn where it should not be served."""
    console.print(Group(*_sections(manifest, bundle_id)))
    worse = shortfalls(manifest)
    if worse:
        console.print(
            Text.assemble(
                ("warning: ", "bold yellow"), "this model is worse than a plain baseline; think before serving it"
            )
        )
        for shortfall in worse:
            console.print(Text(f"  {shortfall}"))


def _sections(manifest: Manifest, bundle_id: str) -> Iterator[RenderableType]:
    provenance, transfer = manifest.provenance, manifest.transfer
    kind = "folded affine map" if transfer.kind == "affine" else "ONNX solver graph"
    about = [
        ("id", bundle_id),
        ("model", f"{manifest.model} (preset {manifest.preset})"),
        ("chosen", f"best {provenance.selected_by} on validation users" if provenance.selected_by else "by name"),
        ("made", f"{manifest.created_at:%Y-%m-%d %H:%M %Z} by {manifest.generator}"),
        ("transfer", f"{kind}, {transfer.source_dim} -> {transfer.target_dim} dimensions"),
        ("fold-in", manifest.fold_in.kind if manifest.fold_in else "none: only known users get personal lists"),
        ("search", describe(manifest.search)),
        ("console", _console_tables(manifest)),
        ("scores", "ratings" if manifest.scoring.objective == "rating" else "ranking only"),
        ("seed", str(provenance.seed)),
    ]
    about += [(f"parity {pair.replace('_', ' / ')}", f"{value:.1e}") for pair, value in transfer.parity.items()]
    about += [(name, str(value)) for name, value in transfer.details.items()]
    yield make_table("Bundle", ["", ""], about, align="left")
    counts = [(name.replace("_", " "), f"{count:,}") for name, count in manifest.counts.model_dump().items()]
    split = [(f"overlap users for {name}", f"{count:,}") for name, count in provenance.split.items()]
    yield make_table("Data", ["", ""], [*counts, *split, ("share held out for test", f"{provenance.test_fraction:g}")])
    yield _cleaning(provenance.source, provenance.target)
    for scope, models in manifest.metrics.items():
        yield _quality(manifest, scope)
        if any(_base_name(metric) in DESCRIPTIVE for figures in models.values() for metric in figures):
            yield _beyond(manifest, scope)
    sizes = [(name, _size(record.bytes)) for name, record in sorted(manifest.files.items())]
    total = sum(record.bytes for record in manifest.files.values())
    yield make_table("Files", ["", ""], [*sizes, ("together", _size(total))], emphasised=[len(sizes)])


def _console_tables(manifest: Manifest) -> str:
    tables = {"histories": f"{HISTORY_FOLDER}/indptr.npy", "map": f"{MAP_FOLDER}/users.npy"}
    return ", ".join(name for name, file in tables.items() if file in manifest.files) or "none"


def _cleaning(source: InputFile, target: InputFile) -> RenderableType:
    reasons = sorted(source.cleaning.keys() | target.cleaning.keys())
    rows = [("rows read", f"{source.rows_read:,}", f"{target.rows_read:,}")]
    rows += [
        (reason.replace("_", " "), f"{source.cleaning.get(reason, 0):,}", f"{target.cleaning.get(reason, 0):,}")
        for reason in reasons
    ]
    rows.append(("rows kept", f"{source.rows_kept:,}", f"{target.rows_kept:,}"))
    return make_table("Cleaning", ["", f"source: {source.name}", f"target: {target.name}"], rows)


def _quality(manifest: Manifest, scope: str) -> RenderableType:
    """The figures of accuracy, each with its standard error where there is one."""
    models, errors = manifest.metrics[scope], manifest.standard_errors.get(scope, {})
    names = [name for name in _figures(models) if _base_name(name) not in DESCRIPTIVE]
    best = {name: _best(name, [figures[name] for figures in models.values() if name in figures]) for name in names}

    def cell(model: str, name: str) -> str:
        if name not in models[model]:
            return ""
        value, error = models[model][name], errors.get(model, {}).get(name)
        spread = "" if error is None else f" ± {error:.4f}"
        return f"{value:.4f}{spread}{' *' if value == best[name] else '  '}"

    title = f"Quality on {scope} users (* best{', ± standard error' if errors else ''})"
    return _by_model(title, manifest, scope, {name: [cell(model, name) for model in models] for name in names})


def _beyond(manifest: Manifest, scope: str) -> RenderableType:
    models = manifest.metrics[scope]
    names = [name for name in _figures(models) if _base_name(name) in DESCRIPTIVE]
    columns = {name: [f"{f[name]:.4f}" if name in f else "" for f in models.values()] for name in names}
    return _by_model(f"Lists of {scope} users beyond accuracy", manifest, scope, columns)


def _figures(models: dict[str, dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(metric for figures in models.values() for metric in figures))


def _by_model(title: str, manifest: Manifest, scope: str, columns: dict[str, list[str]]) -> RenderableType:
    """A row for each model of ``scope``, the bundle's own emphasised."""
    models = list(manifest.metrics[scope])
    labels = [f"{model} (this bundle)" if model == manifest.model else model for model in models]
    place = models.index(manifest.model) if manifest.model in models else -1
    rows = [list(row) for row in zip(labels, *columns.values(), strict=True)]
    return make_table(title, ["model", *columns], rows, emphasised=[place])


def _best(metric: str, values: Sequence[float]) -> float:
    return min(values) if _lower_is_better(metric) else max(values)


def _better(metric: str, first: float, second: float) -> bool:
    return first < second if _lower_is_better(metric) else first > second


def _lower_is_better(metric: str) -> bool:
    return _base_name(metric) in LOWER_IS_BETTER


def _base_name(metric: str) -> str:
    """``rmse_clipped`` -> ``rmse``, ``ndcg@20`` -> ``ndcg``."""
    return metric.lower().partition("@")[0].removesuffix("_clipped")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
