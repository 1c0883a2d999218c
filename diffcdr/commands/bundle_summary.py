"""The short form of ``diffcdr inspect``: what a bundle is, of what data, and how good against the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.text import Text

from diffcdr.bundle.manifest import InputFile, ItemsFile, LikesSpec, Manifest, Paired, Provenance
from diffcdr.metric_names import best_of
from diffcdr.progress import make_table, make_tables
from diffcdr.search.approximate import describe

_FOR_LISTS = ("ndcg", "hr", "recall")
_FOR_RATINGS = ("rmse_clipped", "mae_clipped", "ndcg")
"""Of public names without ``@k``; where errors are not clipped, the plain ones."""
_SCOPES = ("test", "validation")


def summary(manifest: Manifest, bundle_id: str, *, width: int) -> Iterator[RenderableType]:
    """What matters of a bundle, in at most ``width`` columns: some ten lines, and a table of models."""
    # In a column the id would be folded in 80 characters.
    yield Text(f"Bundle {bundle_id}", style="bold")
    yield make_table("", ["", ""], list(_about(manifest)), align="left")
    yield from _quality(manifest, width)


def _about(manifest: Manifest) -> Iterator[tuple[str, str]]:
    provenance, counts, split = manifest.provenance, manifest.counts, manifest.provenance.split
    scores = "predicts ratings" if manifest.scoring.objective == "rating" else "ranks; its scores are no ratings"
    yield "model", f"{manifest.model} (preset {manifest.preset}): {scores}"
    yield "chosen", chosen(provenance)
    yield "made", f"{manifest.created_at:%Y-%m-%d %H:%M %Z} by {manifest.generator}, seed {provenance.seed}"
    yield "source", f"{_ratings(provenance.source)}; {counts.source_users:,} users, {counts.source_items:,} items"
    served = "users" if provenance.held_out == "known" else "users with ratings that were not held out"
    yield "target", f"{_ratings(provenance.target)}; {counts.target_users:,} {served}, {counts.target_items:,} items"
    if provenance.cut is not None:
        yield "split", f"by time, training up to {provenance.cut}"
    parts = ", ".join(f"{count:,} for {part}" for part, count in split.items())
    yield "in both", f"{counts.overlap_users:,} users" + (f": {parts}" if parts else "")
    for name, file in (("source titles", provenance.source_items), ("target items", provenance.target_items)):
        if file is not None:
            yield name, items_words(file)
    if manifest.attributes:
        yield "attributes", attributes_words(manifest)
    if manifest.search is not None:
        yield "search", describe(manifest.search)
    if manifest.likes is not None:
        yield "likes", likes_words(manifest.likes)
    yield "size", f"{len(manifest.files)} files, {size_words(sum(file.bytes for file in manifest.files.values()))}"


def _ratings(file: InputFile) -> str:
    """As ``books.json: 31,504 ratings of 2 to 10 (range 1 to 10)``."""
    words = f"{file.name}: {file.rows_kept:,} ratings"
    if file.found_range is not None:
        words += f" of {_from_to(file.found_range)}"
    return words + (f" (range {_from_to(file.rating_range)})" if file.rating_range is not None else "")


def _from_to(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"


def _quality(manifest: Manifest, width: int) -> Iterator[RenderableType]:
    """A row for each model, with the figures that matter for what the bundle does, on test users."""
    scope = next((scope for scope in _SCOPES if manifest.metrics.get(scope)), None)
    if scope is None:
        return
    models, paired = manifest.metrics[scope], manifest.paired.get(scope, {})
    wanted = _FOR_RATINGS if manifest.scoring.objective == "rating" else _FOR_LISTS
    every = dict.fromkeys(metric for figures in models.values() for metric in figures)
    there = {name.partition("@")[0] for name in every}
    bases = [base if base in there else base.removesuffix("_clipped") for base in wanted]
    names = [name for base in bases for name in every if name.partition("@")[0] == base]
    columns = {name: _column(models, name) for name in names}
    lead = next((each.metric for each in paired.values()), None)
    if lead is not None:
        columns[f"{lead}: {manifest.model}'s lead"] = [difference(paired.get(model)) for model in models]
    rows = [list(row) for row in zip(models, *columns.values(), strict=True)]
    title = f"On {manifest.provenance.split[scope]:,} {scope} users" if scope in manifest.provenance.split else scope
    if scope == "test" and manifest.provenance.cut is not None:
        title += f" who came after {manifest.provenance.cut}"
    title += f" (* best{'; lead ± 95 % interval' if lead is not None else ''})"
    place = list(models).index(manifest.model) if manifest.model in models else -1
    yield Text(title, style="bold")  # a table's own would be folded to the table's width
    yield from make_tables("", ["model", *columns], rows, width=width, emphasised=[place])


def _column(models: Mapping[str, Mapping[str, float]], name: str) -> list[str]:
    best = best_of((figures[name] for figures in models.values() if name in figures), metric=name)
    return [
        f"{figures[name]:.4f}{'*' if figures[name] == best else ' '}" if name in figures else "- "
        for figures in models.values()
    ]


def chosen(provenance: Provenance) -> str:
    """How the model was chosen."""
    if provenance.selected_by is None:
        return "by name"
    if provenance.favoured is None:
        return f"best {provenance.selected_by} on validation users"
    higher = f"another has {provenance.selected_by} higher by one standard error"
    return f"{provenance.favoured}, unless {higher} on validation users"


def difference(paired: Paired | None) -> str:
    """With the interval that holds 95 of 100 such differences."""
    if paired is None:
        return ""
    if paired.standard_error is None:
        return f"{paired.difference:+.4f}"
    return f"{paired.difference:+.4f} ± {1.96 * paired.standard_error:.4f}"


def attributes_words(manifest: Manifest) -> str:
    """The attributes by which lists can be filtered."""
    return ", ".join(f"{each.name} ({each.kind})" for each in manifest.attributes) or "none"


def items_words(file: ItemsFile) -> str:
    """The file that describes items, and how many of them."""
    columns = ", ".join(f"{role} {name!r}" for role, name in file.columns.items())
    return f"{file.name} ({columns}): {file.items_with_row:,} of {file.items:,} items have a row"


def likes_words(likes: LikesSpec) -> str:
    """Which ratings are likes."""
    return f"ratings from {likes.source:g} (source) and {likes.target:g} (target) on; others only mark items as seen"


def size_words(count: int) -> str:
    """``count`` bytes in the unit that suits."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
