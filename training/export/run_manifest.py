"""What the manifest of a bundle records of the run: settings, data, metrics, versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from diffcdr import __version__
from diffcdr.bundle.manifest import (
    Counts,
    LikesSpec,
    Manifest,
    Paired,
    Provenance,
    ScoringSpec,
    SearchSpec,
    SparseSpec,
    TransferSpec,
    Tuning,
)
from diffcdr.installation import library_versions
from diffcdr.search.build_index import IndexOptions
from training.config import TrainConfig
from training.evaluation.evaluate import Metrics
from training.evaluation.paired import paired_difference
from training.models.registry import section_of
from training.run.finish import FinishedModel

LIBRARIES = ("diffcdr", "numpy", "onnx", "onnxruntime", "polars", "torch")
"""Modules whose distributions and versions the manifest names; of ONNX Runtime there may be none."""


@dataclass(frozen=True)
class RunFacts:
    """What the manifest records of the run besides the data: its settings and its metrics."""

    preset: str
    config: TrainConfig
    seed: int
    rating_range: tuple[float, float]
    metrics: Mapping[str, Mapping[str, Metrics]]
    """[scope][model]; scope is ``validation`` or ``test``. Every model of the run, the published one among them."""
    tuning: Mapping[str, Tuning] = field(default_factory=dict)
    """What was tried for the models whose settings were chosen from grids."""
    selected_by: str | None = None
    """The validation figure that chose the published model; None where it was named."""
    favoured: str | None = None
    """The model that is published unless another has a better figure by one standard error; None: none was."""
    histories: bool = True
    """Whether the bundle is to hold who rated what in the source domain, for people to look at."""
    index: IndexOptions | None = None
    """When items are to be searched by an approximate index; None: never."""


def manifest_of(
    finished: FinishedModel, facts: RunFacts, *, transfer: TransferSpec, search: SearchSpec | None
) -> Manifest:
    """The manifest of a bundle, without what the writer adds: files and hashes."""
    pair, split, head = finished.prepared.pair, finished.prepared.split, finished.model.head()
    sparse = finished.model.sparse_term()
    return Manifest(
        created_at=datetime.now(UTC),
        generator=f"diffcdr {__version__}",
        model=finished.model.name,
        preset=facts.preset,
        transfer=transfer,
        scoring=ScoringSpec(
            objective=head.objective,
            offset=head.offset,
            rating_range=facts.rating_range if head.objective == "rating" else None,
        ),
        search=search,
        sparse=None if sparse is None else SparseSpec(length_power=sparse.length_power),
        fold_in=finished.fold.spec if finished.fold else None,
        likes=likes_of(finished),
        warm=finished.warm,
        attributes=pair.target.attributes.specs(),
        counts=Counts(
            source_users=len(pair.source.users),
            source_items=len(pair.source.items),
            target_users=len(finished.warm_rows),
            target_items=len(pair.target.items),
            overlap_users=len(pair.overlap_source),
        ),
        provenance=Provenance(
            source=pair.source.file,
            target=pair.target.file,
            source_items=pair.source.items_file,
            target_items=pair.target.items_file,
            seed=facts.seed,
            test_fraction=facts.config.split.test_fraction,
            split={"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            held_out=finished.held_out,
            cut=finished.prepared.cut,
            config=_settings(facts),
            tuning=dict(facts.tuning),
            selected_by=facts.selected_by,
            favoured=facts.favoured,
            versions={"python": platform.python_version(), **library_versions(LIBRARIES)},
        ),
        metrics={
            scope: {name: metrics.as_dict() for name, metrics in models.items()}
            for scope, models in facts.metrics.items()
        },
        standard_errors={
            scope: {name: metrics.errors_as_dict() for name, metrics in models.items()}
            for scope, models in facts.metrics.items()
        },
        paired={scope: _paired(finished.model.name, models) for scope, models in facts.metrics.items()},
    )


def _paired(published: str, models: Mapping[str, Metrics]) -> dict[str, Paired]:
    if published not in models:
        return {}
    found = {name: paired_difference(models[published], theirs) for name, theirs in models.items() if name != published}
    return {
        name: Paired(metric=f"ndcg@{models[name].k}", difference=each.ndcg, standard_error=each.standard_error)
        for name, each in found.items()
        if each is not None
    }


def _settings(facts: RunFacts) -> dict[str, Any]:
    """The sections that had a say in this run."""
    sections = {"split", "base", *(section_of(name) for models in facts.metrics.values() for name in models)}
    return facts.config.model_dump(mode="json", include=sections)


def likes_of(finished: FinishedModel) -> LikesSpec | None:
    """From which rating on a rating is a like, in both domains; None where all count alike."""
    likes = finished.prepared.likes
    return None if likes is None else LikesSpec(source=likes[0], target=likes[1])
