"""Training as a library: two rating files in, fitted and measured models out, one of them to publish.

from training import fit

fit("films.csv", "books.csv", preset="ranking").publish("bundles/books")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl
import torch

from diffcdr.bundle.manifest import Tuning
from diffcdr.files.columns import Columns
from diffcdr.files.id_rule import normal_ids
from diffcdr.files.reading import Reading
from diffcdr.installation import check_one_onnx_runtime
from diffcdr.metric_names import TRAINED_BASELINES
from diffcdr.search.build_index import IndexOptions
from training.base_models.config import ALSConfig
from training.config import TrainConfig, load_preset
from training.data.sense import Rules
from training.data.titles import TitleFile
from training.evaluation.evaluate import Metrics
from training.export.bundle import STEPS, RunFacts, publish_bundle
from training.models.registry import MODELS
from training.run.finish import finish
from training.run.fit import FittedModel, evaluate_test
from training.run.grids import SettingGrids, parse_grids
from training.run.model_choice import (
    CONTENDERS,
    EVIDENCE_METRIC,
    FAVOURED,
    champion,
    check_metric,
    on_evidence,
    parse_models,
)
from training.run.prepare import DomainFile, Prepared, load_pair, prepare
from training.run.run import Run
from training.run.tuning import fit_tuned


@dataclass(frozen=True)
class TrainPlan:
    """Which models to train, under which settings, and which of them to publish.

    ``models``: names in the order of ``MODELS``. ``publish``: one of them, unless ``select`` names the validation
    figure that decides, or ``on_evidence`` lets a plain model go before DiffCDR that is better by one standard error.
    """

    preset: str
    config: TrainConfig
    models: tuple[str, ...]
    publish: str
    grids: SettingGrids
    select: str | None = None
    on_evidence: bool = False

    @classmethod
    def parse(
        cls,
        preset: str,
        settings: Sequence[str] = (),
        *,
        model: str | None = None,
        models: str = "plain",
        select: str | None = None,
        paper_grid: bool = False,
        grid_values: Sequence[str] = (),
    ) -> Self:
        """A plan from the words of a command; everything that can be wrong with them is found here.

        Args:
            preset: name of the settings to begin with.
            settings: ``section.key=value``, each in place of the preset's.
            model: the one to publish; None for DiffCDR, and under base models of interactions for what
                :func:`on_evidence` says of it and of plain models that cost seconds.
            models: to train with it: ``plain`` (the baselines), ``all``, or names with commas between.
            select: validation figure that chooses the published model, such as ``ndcg@20``.
            paper_grid: try the paper's values of lambda and s.
            grid_values: ``section.key=value,value``, values to try.

        Raises:
            InputError: a name, a setting or a value is not understood.
        """
        config = load_preset(preset, settings)
        on_evidence = model is None and select is None and isinstance(config.base, ALSConfig)
        publish = FAVOURED if model is None else model
        wanted = {*parse_models(publish, config), *TRAINED_BASELINES, *(CONTENDERS if on_evidence else ())}
        if models != "plain":
            wanted.update(parse_models(models, config))
        names = tuple(name for name in MODELS if name in wanted)
        grids = parse_grids(preset, settings, paper=paper_grid, own=grid_values, models=names)
        if select is not None:
            check_metric(select)
        return cls(preset, config, names, publish, grids, select, on_evidence)


@dataclass(frozen=True)
class Trained:
    """The models of a run by name, their figures on validation and test users, and the one to publish."""

    plan: TrainPlan
    run: Run
    prepared: Prepared
    fitted: Mapping[str, FittedModel]
    tunings: Mapping[str, Tuning]
    test: Mapping[str, Metrics]
    published: str

    @property
    def validation(self) -> dict[str, Metrics]:
        """Figures on the validation users, by model."""
        return {name: each.validation for name, each in self.fitted.items()}

    def publish(
        self,
        destination: str | Path,
        *,
        histories: bool = True,
        index: IndexOptions | None = None,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> str:
        """Write the bundle of the published model to ``destination``, in one step; returns its id.

        Args:
            destination: a directory; a bundle already there is replaced whole.
            histories: keep who rated what in the source domain, for the console.
            index: when items are searched by an approximate index; None: never.
            on_step: told each of :data:`training.export.bundle.STEPS` as it begins.

        Raises:
            BundleError: the exported transfer differs from the trained one.
            InputError: ``destination`` cannot be written, the disk is full, or the item index finds too little.
        """
        on_step(STEPS[0])
        finished = finish(self.fitted[self.published], self.prepared, seed=self.run.seed)
        facts = RunFacts(
            preset=self.plan.preset,
            config=self.plan.config,
            seed=self.run.seed,
            rating_range=self.run.rating_range,
            metrics={"validation": self.validation, "test": self.test},
            tuning=self.tunings,
            selected_by=EVIDENCE_METRIC if self.plan.on_evidence else self.plan.select,
            favoured=FAVOURED if self.plan.on_evidence else None,
            histories=histories,
            index=index,
        )
        others = [each for name, each in self.fitted.items() if name != self.published]
        return publish_bundle(finished, facts, destination=Path(destination), others=others, on_step=on_step)


def train_models(plan: TrainPlan, prepared: Prepared, run: Run) -> Trained:
    """Fit the models of ``plan``, choose the one to publish on validation users, and measure all on test users, once.

    Raises:
        InputError: training diverges, a checkpoint belongs to another run, or no model has the figure to select by.
    """
    tuned = {name: fit_tuned(name, prepared, run, plan.grids) for name in plan.models}
    fitted = {name: each.fitted for name, each in tuned.items()}
    published, validation = plan.publish, {name: each.validation for name, each in fitted.items()}
    if plan.on_evidence:
        published = on_evidence(validation)
    elif plan.select is not None:
        published = champion(validation, plan.select)
    return Trained(
        plan=plan,
        run=run,
        prepared=prepared,
        fitted=fitted,
        tunings={name: each.tuning for name, each in tuned.items() if each.tuning is not None},
        test={name: evaluate_test(each, prepared) for name, each in fitted.items()},
        published=published,
    )


def fit(
    source: str | Path,
    target: str | Path,
    *,
    preset: str = "ranking",
    model: str | None = None,
    models: str = "plain",
    select: str | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    rating_range: tuple[float, float] = (1.0, 5.0),
    source_columns: str | None = None,
    target_columns: str | None = None,
    target_titles: str | Path | None = None,
    exclude_users: Sequence[str] = (),
) -> Trained:
    """Train on two rating files; :meth:`Trained.publish` writes the bundle.

    Args:
        source: ratings of the domain users are known in: a file, or a folder of its parts.
        target: ratings of the domain to recommend in.
        preset: ``ranking`` (lists), ``robust`` (predicted ratings), ``reference`` or ``paper``.
        model, models, select, settings: as in :meth:`TrainPlan.parse`.
        seed: fixes every random choice.
        rating_range: lowest and highest rating; others are left out and counted.
        source_columns, target_columns: names where they are not the usual ones, ``user=uid,item=film,rating=stars``.
        target_titles: a file with item_id and title.
        exclude_users: ids of users to leave out of both domains.

    Raises:
        InputError: a file, a setting or a name is not understood, the domains share too few users, or two distributions
            of ONNX Runtime are installed over each other.
    """
    check_one_onnx_runtime()
    plan = TrainPlan.parse(preset, settings, model=model, models=models, select=select)
    files = (
        _domain_file(source, source_columns, option="source_columns"),
        _domain_file(target, target_columns, option="target_columns", titles=target_titles),
    )
    excluded = normal_ids(pl.Series(exclude_users, dtype=pl.String)).drop_nulls() if exclude_users else None
    with one_thread():
        pair = load_pair(*files, rating_range=rating_range, excluded_users=excluded)
        run = Run(config=plan.config, seed=seed, rating_range=rating_range)
        return train_models(plan, prepare(pair, run), run)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: tables and batches are small, and sums of several threads depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _domain_file(path: str | Path, columns: str | None, *, option: str, titles: str | Path | None = None) -> DomainFile:
    side = option.removesuffix("_columns")
    reading = Reading(columns=Columns() if columns is None else Columns.parse(columns, option=option), option=option)
    named = None if titles is None else TitleFile(Path(titles), Reading(option=f"{side}_title_columns"))
    return DomainFile(Path(path), reading, named, rules=Rules(side))
