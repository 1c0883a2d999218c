"""Training as a library: two rating files in, fitted and measured models out, one of them to publish.

from training import fit

fit("films.csv", "books.csv", preset="ranking").publish("bundles/books")
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from diffcdr.bundle.manifest import Tuning
from diffcdr.files.id_rule import normal_ids
from diffcdr.installation import check_one_onnx_runtime
from diffcdr.search.build_index import IndexOptions
from training.evaluation.evaluate import Metrics
from training.export.bundle import STEPS, publish_bundle
from training.export.run_manifest import RunFacts
from training.run.finish import HeldOutUsers, finish
from training.run.fit import FittedModel, evaluate_test
from training.run.inputs import DEFAULT_RANGE, CommonOptions, DomainOptions, choose_start
from training.run.model_choice import (
    EVIDENCE_METRIC,
    FAVOURED,
    champion,
    on_evidence,
)
from training.run.prepare import Prepared, prepare
from training.run.run import Run, Watch, ready_checkpoints, watch_nothing
from training.run.tuning import fit_tuned
from training.train_plan import TrainPlan, check_plan


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
        held_out: HeldOutUsers = "known",
        histories: bool = True,
        index: IndexOptions | None = None,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> str:
        """Write the bundle of the published model to ``destination``, in one step; returns its id.

        Args:
            destination: a directory; a bundle already there is replaced whole.
            held_out: ``known`` serves the users whose target ratings were held out with these ratings, as all others;
                ``cold`` as they were measured, without: to look at the lists behind the figures.
            histories: keep who rated what in the source domain, for the console.
            index: when items are searched by an approximate index; None: never.
            on_step: told each of :data:`training.export.bundle.STEPS` as it begins.

        Raises:
            BundleError: the exported transfer differs from the trained one.
            InputError: ``destination`` cannot be written, the disk is full, or the item index finds too little.
        """
        on_step(STEPS[0])
        finished = finish(self.fitted[self.published], self.prepared, seed=self.run.seed, held_out=held_out)
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


class DataWarning(UserWarning):
    """Something about the data is odd, but training went on."""


def fit(
    source: str | Path | None = None,
    target: str | Path | None = None,
    *,
    tables: str | Path | None = None,
    preset: str = "ranking",
    model: str | None = None,
    models: str = "plain",
    select: str | None = None,
    settings: Sequence[str] = (),
    grid: bool = False,
    grid_values: Sequence[str] = (),
    seed: int = 0,
    test_fraction: float | None = None,
    split: str | None = None,
    rating_range: tuple[float, float] | None = None,
    source_range: tuple[float, float] | None = None,
    target_range: tuple[float, float] | None = None,
    positive_threshold: float | tuple[float, float] | None = None,
    source_columns: str | None = None,
    target_columns: str | None = None,
    source_separator: str | None = None,
    target_separator: str | None = None,
    encoding: str | None = None,
    source_titles: str | Path | None = None,
    target_titles: str | Path | None = None,
    target_items: str | Path | None = None,
    source_title_columns: str | None = None,
    target_title_columns: str | None = None,
    exclude_users: str | Path | Sequence[str] | None = None,
    events: str | Path | None = None,
    event_weights: str | None = None,
    accept: Collection[str] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    watch: Watch = watch_nothing,
) -> Trained:
    """Train on two rating files as ``diffcdr train`` does; :meth:`Trained.publish` writes the bundle.

    The same is checked, and errors name the command's options: ``--source-columns`` is ``source_columns`` here.

    >>> from training import fit
    >>> trained = fit("films.csv", "books.csv", preset="ranking", target_titles="book_items.csv")
    >>> list(trained.test)
    ['mean', 'bias', 'popular', 'ridge', 'itemknn', 'dual_ridge', 'slim', 'diffcdr']
    >>> trained.test["diffcdr"].ndcg > trained.test["popular"].ndcg
    True
    >>> bundle_id = trained.publish("bundles/books")

    Args:
        source: ratings of the domain users are known in: a file, or a folder of its parts.
        target: ratings of the domain to recommend in.
        tables: what ``diffcdr prepare`` wrote, in place of ``source`` and ``target``.
        preset: ``ranking`` (lists), ``robust`` (predicted ratings), ``reference`` or ``paper``.
        model, models, select, settings, grid, grid_values, test_fraction, split: as in :meth:`TrainPlan.parse`.
        seed: fixes every random choice.
        rating_range: lowest and highest rating, 1 to 5 where none is given; others are left out and counted.
        source_range, target_range: those of one domain, where the domains rate differently.
        positive_threshold: lowest rating that is a like, of both or of source and target; under ``ranking`` every
            rating is one where none is given. Lower ones are neither learnt from nor judged by.
        source_columns, target_columns: names where they are not the usual ones, ``user=uid,item=film,rating=stars``.
        source_separator, target_separator: what separates fields, such as ``::``, where it is not to be found out.
        encoding: of text that is not UTF-8 and does not say it, such as ``latin-1``.
        source_titles, target_titles: a file with item_id and title.
        target_items: a file with item_id, title and further columns, kept as attributes; in place of
            ``target_titles``.
        source_title_columns, target_title_columns: names of its columns, ``item=asin,title=name``.
        exclude_users: users to leave out of both domains: a file that lists them, or their ids.
        events: what users sent since, as ``diffcdr events export --out`` wrote it.
        event_weights: what an event without a rating counts as, by type, from 0 (left out) to 1 (the best rating), such
            as ``click=0.4``; a purchase 1 and a click 0 where nothing else is said.
        accept: names of doubts (``training.data.doubts.DOUBTS``) that are meant as they are.
        checkpoint: a directory to keep the state of training in.
        resume: go on from the state in ``checkpoint``.
        watch: told of each step and its epochs.

    Raises:
        InputError: a file, a setting or a name is not understood, the data would mean nothing, or two distributions of
            ONNX Runtime are installed over each other.

    Warns:
        DataWarning: once for each thing about the data that is merely odd.
    """
    check_one_onnx_runtime()
    plan = TrainPlan.parse(
        preset,
        settings,
        model=model,
        models=models,
        select=select,
        paper_grid=grid,
        grid_values=grid_values,
        test_fraction=test_fraction,
        split=split,
        positive_threshold=_threshold(positive_threshold),
    )
    start = choose_start(
        DomainOptions(
            "source",
            _path(source),
            source_columns,
            _path(source_titles),
            source_separator,
            _range(source_range),
            source_title_columns,
        ),
        DomainOptions(
            "target",
            _path(target),
            target_columns,
            _path(target_titles),
            target_separator,
            _range(target_range),
            target_title_columns,
            _path(target_items),
        ),
        tables=_path(tables),
        exclude_users=_listed(exclude_users),
        common=CommonOptions(_range(rating_range), encoding, list(accept)),
        events=_path(events),
        event_weights=event_weights,
    )
    ready_checkpoints(_path(checkpoint), resume=resume)
    run = Run(config=plan.config, seed=seed, rating_range=DEFAULT_RANGE, checkpoints=_path(checkpoint), watch=watch)
    with one_thread():
        loaded = start.load(run)
        odd = [*loaded.warnings, *loaded.pair.source.warnings, *loaded.pair.target.warnings]
        plan, left_out = plan.suited_to(loaded.pair)
        for text in [*odd, *left_out, *check_plan(plan, loaded.pair, seed=seed, accept=accept)]:
            warnings.warn(text, DataWarning, stacklevel=2)
        return train_models(plan, prepare(loaded.pair, loaded.run), loaded.run)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: tables and batches are small, and sums of several threads depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _threshold(given: float | tuple[float, float] | None) -> str | None:
    if given is None or isinstance(given, int | float):
        return None if given is None else str(given)
    return ",".join(map(str, given))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _range(given: tuple[float, float] | None) -> str | None:
    """As the command takes it, whose rule finds what is wrong with it."""
    return None if given is None else ",".join(map(repr, given))


def _listed(given: str | Path | Sequence[str] | None) -> Path | pl.Series | None:
    """A file that lists users, or their ids by the rule of all readers."""
    if given is None or isinstance(given, str | Path):
        return _path(given)
    ids = normal_ids(pl.Series(given, dtype=pl.String)).drop_nulls()
    return ids.filter(ids != "").unique(maintain_order=True)
