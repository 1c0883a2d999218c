"""What ``diffcdr inspect`` shows of a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from diffcdr.bundle.display_tables import HISTORY_FOLDER, MAP_FOLDER
from diffcdr.bundle.manifest import InputFile, Manifest, Provenance
from diffcdr.bundle.reader import open_bundle, read_manifest
from diffcdr.commands.bundle_summary import (
    attributes_words,
    chosen,
    difference,
    items_words,
    likes_words,
    size_words,
    summary,
)
from diffcdr.metric_names import DESCRIPTIVE, TRAINED_BASELINES, base_name, best_of, is_better
from diffcdr.progress import make_table, make_tables
from diffcdr.search.approximate import describe


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
            if base_name(metric) in DESCRIPTIVE:
                continue
            for baseline in TRAINED_BASELINES:
                other = models.get(baseline, {}).get(metric)
                if other is not None and baseline != manifest.model and is_better(other, value, metric=metric):
                    found.append(Shortfall(scope, metric, baseline, value, other))
    return found


def render(manifest: Manifest, bundle_id: str, *, console: Console, everything: bool = False) -> None:
    """Show what matters of a bundle, or ``everything``, and warn where it should not be served."""
    sections = _sections if everything else summary
    console.print(Group(*sections(manifest, bundle_id, width=console.width)))
    worse = shortfalls(manifest)
    if not everything and any(each.scope == "test" for each in worse):
        worse = [each for each in worse if each.scope == "test"]
    if worse:
        console.print(
            Text.assemble(
                ("warning: ", "bold yellow"), "this model is worse than a plain baseline; think before serving it"
            )
        )
        for shortfall in worse:
            console.print(Text(f"  {shortfall}"))


def _sections(manifest: Manifest, bundle_id: str, *, width: int) -> Iterator[RenderableType]:
    provenance, transfer = manifest.provenance, manifest.transfer
    kind = "folded affine map" if transfer.kind == "affine" else "ONNX solver graph"
    about = [
        ("model", f"{manifest.model} (preset {manifest.preset})"),
        ("chosen", chosen(provenance)),
        ("made", f"{manifest.created_at:%Y-%m-%d %H:%M %Z} by {manifest.generator}"),
        ("transfer", f"{kind}, {transfer.source_dim} -> {transfer.target_dim} dimensions"),
        ("neighbours", _neighbours(manifest)),
        ("fold-in", manifest.fold_in.kind if manifest.fold_in else "none: only known users get personal lists"),
        ("search", describe(manifest.search)),
        ("attributes", attributes_words(manifest)),
        *_items(provenance),
        ("console", _console_tables(manifest)),
        ("scores", "ratings" if manifest.scoring.objective == "rating" else "ranking only"),
        *([] if manifest.likes is None else [("likes", likes_words(manifest.likes))]),
        ("seed", str(provenance.seed)),
    ]
    about += [(f"parity {pair.replace('_', ' / ')}", f"{value:.1e}") for pair, value in transfer.parity.items()]
    about += [(name, str(value)) for name, value in transfer.details.items()]
    # In a column the id would be folded in 80 characters.
    yield Text(f"Bundle {bundle_id}", style="bold")
    yield make_table("", ["", ""], about, align="left")
    counts = [(name.replace("_", " "), f"{count:,}") for name, count in manifest.counts.model_dump().items()]
    split = [(f"overlap users for {name}", f"{count:,}") for name, count in provenance.split.items()]
    held_out = (
        ("share held out for test", f"{provenance.test_fraction:g}")
        if provenance.cut is None
        else ("share of target ratings after the cut", f"{provenance.test_fraction:g}")
    )
    cut = [] if provenance.cut is None else [("split by time, training up to", provenance.cut)]
    known = "with their target ratings" if provenance.held_out == "known" else "as measured, without target ratings"
    served = ("held-out users are served", known)
    yield make_table("Data", ["", ""], [*counts, *split, held_out, served, *cut])
    yield _cleaning(provenance.source, provenance.target)
    for scope, models in manifest.metrics.items():
        yield from _quality(manifest, scope, width)
        if any(base_name(metric) in DESCRIPTIVE for figures in models.values() for metric in figures):
            yield from _beyond(manifest, scope, width)
    if any(manifest.paired.values()):
        yield _against_others(manifest)
    sizes = [(name, size_words(record.bytes)) for name, record in sorted(manifest.files.items())]
    total = sum(record.bytes for record in manifest.files.values())
    yield make_table("Files", ["", ""], [*sizes, ("together", size_words(total))], emphasised=[len(sizes)])


def _items(provenance: Provenance) -> list[tuple[str, str]]:
    files = {"source titles": provenance.source_items, "target items": provenance.target_items}
    return [(name, items_words(file)) for name, file in files.items() if file is not None]


def _neighbours(manifest: Manifest) -> str:
    facts = manifest.neighbours
    if facts is None:
        return "none: scores come from vectors and biases alone"
    return f"{facts.entries:,} of source items, with {facts.ratings:,} source ratings, {size_words(facts.bytes)}"


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
    rows.append(("ratings found", _ends(source.found_range), _ends(target.found_range)))
    rows.append(("rating range", _ends(source.rating_range), _ends(target.rating_range)))
    return make_table("Cleaning", ["", f"source: {source.name}", f"target: {target.name}"], rows)


def _ends(limits: tuple[float, float] | None) -> str:
    return "not recorded" if limits is None else f"{limits[0]:g} to {limits[1]:g}"


def _quality(manifest: Manifest, scope: str, width: int) -> Sequence[RenderableType]:
    """The figures of accuracy, each with its standard error where there is one."""
    models, errors = manifest.metrics[scope], manifest.standard_errors.get(scope, {})
    names = [name for name in _figures(models) if base_name(name) not in DESCRIPTIVE]
    best = {
        name: best_of((figures[name] for figures in models.values() if name in figures), metric=name) for name in names
    }

    def cell(model: str, name: str) -> str:
        if name not in models[model]:
            return ""
        value, error = models[model][name], errors.get(model, {}).get(name)
        spread = "" if error is None else f" ± {error:.4f}"
        return f"{value:.4f}{spread}{' *' if value == best[name] else '  '}"

    title = f"Quality on {scope} users (* best{', ± standard error' if errors else ''})"
    return _by_model(title, manifest, scope, {name: [cell(model, name) for model in models] for name in names}, width)


def _against_others(manifest: Manifest) -> RenderableType:
    """How far the bundle's model is ahead of each other one, user by user."""
    scopes = [scope for scope, found in manifest.paired.items() if found]
    models = list(dict.fromkeys(model for scope in scopes for model in manifest.paired[scope]))
    metrics = ", ".join(dict.fromkeys(each.metric for scope in scopes for each in manifest.paired[scope].values()))
    rows = [[model, *(difference(manifest.paired[scope].get(model)) for scope in scopes)] for model in models]
    title = f"{manifest.model}'s lead over each other model, {metrics} (± 95 % interval)"
    return make_table(title, ["model", *(f"{scope} users" for scope in scopes)], rows)


def _beyond(manifest: Manifest, scope: str, width: int) -> Sequence[RenderableType]:
    models = manifest.metrics[scope]
    names = [name for name in _figures(models) if base_name(name) in DESCRIPTIVE]
    columns = {name: [f"{f[name]:.4f}" if name in f else "" for f in models.values()] for name in names}
    return _by_model(f"Lists of {scope} users beyond accuracy", manifest, scope, columns, width)


def _figures(models: dict[str, dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(metric for figures in models.values() for metric in figures))


def _by_model(
    title: str, manifest: Manifest, scope: str, columns: dict[str, list[str]], width: int
) -> Sequence[RenderableType]:
    """A row for each model of ``scope``, the bundle's own emphasised."""
    models = list(manifest.metrics[scope])
    labels = [f"{model} (this bundle)" if model == manifest.model else model for model in models]
    place = models.index(manifest.model) if manifest.model in models else -1
    rows = [list(row) for row in zip(labels, *columns.values(), strict=True)]
    return make_tables(title, ["model", *columns], rows, width=width, emphasised=[place])


def inspect_bundle(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory.", show_default=False)],
    everything: Annotated[
        bool, typer.Option("--all", help="Show everything: settings, cleaning, all metrics, every file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest, id and warnings as JSON.")] = False,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Check the hash of every file.")] = True,
) -> None:
    """Show a bundle's content and its quality against baselines, and check every file's hash."""
    manifest, bundle_id = read_manifest(bundle)
    if verify:
        open_bundle(bundle)
    if as_json:
        warnings = [str(shortfall) for shortfall in shortfalls(manifest)]
        typer.echo(
            json.dumps({"id": bundle_id, "warnings": warnings, "manifest": manifest.model_dump(mode="json")}, indent=2)
        )
        return
    console = Console(highlight=False)
    render(manifest, bundle_id, console=console, everything=everything)
    if verify:
        console.print(f"verified: all {len(manifest.files)} files are as published")
    if not everything:
        console.print("settings, cleaning, all metrics and files: --all")
