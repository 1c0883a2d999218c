"""The plan of a training run: its models, its settings, and the rule that picks the model to publish."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

from diffcdr.errors import InputError
from diffcdr.metric_names import TRAINED_BASELINES
from diffcdr.search.build_index import IndexOptions
from training.base_models.config import ALSConfig
from training.config import TrainConfig, load_preset
from training.data.domains import DomainPair
from training.data.doubts import parse_accepted
from training.models.registry import MODELS
from training.run.contenders import WITH_SPARSE_TERM, check_indexed, is_indexed, too_large
from training.run.data_checks import check_data
from training.run.grids import SettingGrids, parse_grids
from training.run.model_choice import CONTENDERS, FAVOURED, check_metric, parse_models


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
    contenders: tuple[str, ...] = ()
    """Those of ``models`` that nobody named: plain models that DiffCDR has to show itself against."""

    @classmethod
    def parse(  # noqa: PLR0913 - all that a plan is made of
        cls,
        preset: str,
        settings: Sequence[str] = (),
        *,
        model: str | None = None,
        models: str = "plain",
        select: str | None = None,
        paper_grid: bool = False,
        grid_values: Sequence[str] = (),
        test_fraction: float | None = None,
        positive_threshold: str | None = None,
        split: str | None = None,
    ) -> Self:
        """Make a plan from a command's options, and check them all.

        Args:
            preset: name of the settings to begin with.
            settings: ``section.key=value``, each in place of the preset's.
            model: the one to publish; None for DiffCDR, and under base models of interactions for what
                :func:`on_evidence` says of it and of plain models that cost seconds.
            models: to train with it: ``plain`` (the baselines), ``all``, or names with commas between.
            select: validation figure that chooses the published model, such as ``ndcg@20``.
            paper_grid: try the paper's values of lambda and s.
            grid_values: ``section.key=value,value``, values to try.
            test_fraction: share of overlap users to measure on, in place of the preset's.
            positive_threshold: as :func:`likes_settings` takes it.
            split: ``user`` or ``time``, in place of the preset's.

        Raises:
            InputError: a name, a setting or a value is not understood.
        """
        if test_fraction is not None:
            settings = [*settings, f"split.test_fraction={test_fraction}"]
        settings = [*settings, *split_settings(split)]
        settings = [*settings, *likes_settings(positive_threshold, preset, settings)]
        config = load_preset(preset, settings)
        on_evidence = model is None and select is None and isinstance(config.base, ALSConfig)
        publish = FAVOURED if model is None else model
        wanted = {*parse_models(publish, config), *TRAINED_BASELINES}
        if models != "plain":
            wanted.update(parse_models(models, config))
        contenders = tuple(name for name in CONTENDERS if on_evidence and name not in wanted)
        names = tuple(name for name in MODELS if name in {*wanted, *contenders})
        grids = parse_grids(preset, settings, paper=paper_grid, own=grid_values, models=names)
        if select is not None:
            check_metric(select)
        return cls(preset, config, names, publish, grids, select, on_evidence, contenders)

    def suited_to(self, pair: DomainPair, *, index: IndexOptions | None = None) -> tuple[Self, list[str]]:
        """The plan without the contenders that ``pair`` is too large for, and a sentence on each that is left out.

        ``index``: when items will be searched by an approximate index, which serves no sparse term.

        Raises:
            InputError: with that index, what may be published may have a sparse term.
        """
        reasons, indexed = too_large(pair), is_indexed(pair, index)
        if indexed:
            reasons |= dict.fromkeys(WITH_SPARSE_TERM, "an item index ignores its sparse term")
        left_out = [name for name in self.contenders if name in reasons]
        models = tuple(name for name in self.models if name not in left_out)
        if indexed:
            check_indexed(models if self.on_evidence or self.select else (self.publish,), self.config)
        notes = [f"{name} is not among the competitors: {reasons[name]}; --models {name} adds it" for name in left_out]
        return replace(self, models=models), notes


def check_plan(plan: TrainPlan, pair: DomainPair, *, seed: int, accept: Collection[str] = ()) -> list[str]:
    """Warnings about the data of ``pair``; raises as :func:`training.run.data_checks.check_data`."""
    return check_data(
        pair,
        plan.config,
        models=plan.models,
        test_fractions=[plan.config.split.test_fraction],
        seeds=[seed],
        accepted=parse_accepted(accept),
    )


def split_settings(by: str | None) -> list[str]:
    """``--split`` as a setting. Raises InputError where it is neither user nor time."""
    if by not in (None, "user", "time"):
        raise InputError(f"--split {by!r} is not understood; write user or time")
    return [] if by is None else [f"split.by={by}"]


def likes_settings(text: str | None, preset: str, settings: Sequence[str]) -> list[str]:
    """``--positive-threshold`` as settings beside ``settings`` of ``preset``: ``4``, or ``8,4`` for source and target.

    Raises:
        InputError: it is not understood, or the preset is not of lists.
    """
    if text is None:
        return []
    least = parse_threshold(text)
    if not isinstance(load_preset(preset, settings).base, ALSConfig):
        raise InputError(
            f"--positive-threshold says which ratings are likes, and the base models of preset {preset} learn the "
            "value of each; leave it out, or take --preset ranking"
        )
    return [f"base.positive_threshold={list(least) if isinstance(least, tuple) else least}"]


def parse_threshold(text: str) -> float | tuple[float, float]:
    """``4``, or ``8,4`` for source and target.

    Raises:
        InputError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"--positive-threshold {text!r} is not understood; write the lowest rating that is a like, such as 4, or "
            "8,4 for the source's and the target's"
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
