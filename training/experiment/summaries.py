"""An experiment's results, grouped and summarised once: tables, figures and sentences take their numbers from here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from training.experiment.plan import Scenario
from training.experiment.results import CellResult
from training.experiment.statistics import METRICS, Metric, Summary, summarise


@dataclass(frozen=True)
class Rates:
    """Means over the cold cells of a model: rows or users a second, seconds a cell; None for what was not measured."""

    train: float | None
    transfer: float
    served: float | None
    seconds: float


class Summaries:
    """``results`` by part of the grid: a test fraction and a scenario. Models stay in the order of ``results``."""

    def __init__(self, results: Iterable[CellResult]) -> None:
        self.results = tuple(results)
        self._cells: dict[tuple[float, Scenario], dict[str, list[CellResult]]] = defaultdict(dict)
        for result in self.results:
            of_model = self._cells[result.test_fraction, result.scenario]
            of_model.setdefault(result.model, []).append(result)
        self._seeds = {
            (fraction, scenario, metric): _by_seed(cells, metric)
            for (fraction, scenario), cells in self._cells.items()
            for metric in METRICS
        }
        self._figures = {
            key: {model: summarise(list(values.values())) for model, values in models.items()}
            for key, models in self._seeds.items()
        }

    def fractions(self, scenario: Scenario) -> list[float]:
        """Test fractions with results, ascending."""
        return sorted(fraction for fraction, of in self._cells if of == scenario)

    def models(self, scenario: Scenario) -> list[str]:
        """Models with results."""
        return list(dict.fromkeys(result.model for result in self.results if result.scenario == scenario))

    def cells(self, fraction: float, scenario: Scenario) -> Mapping[str, list[CellResult]]:
        """[model] -> its results, one per seed."""
        return self._cells.get((fraction, scenario), {})

    def by_seed(self, metric: Metric, fraction: float, scenario: Scenario) -> Mapping[str, dict[int, float]]:
        """[model][seed] -> the figure, where there is one."""
        return self._seeds.get((fraction, scenario, metric), {})

    def figures(self, metric: Metric, fraction: float, scenario: Scenario) -> Mapping[str, Summary]:
        """[model] -> mean and standard error over seeds, for models that have the figure."""
        return self._figures.get((fraction, scenario, metric), {})

    def rates(self) -> dict[str, Rates]:
        """[model] -> how fast it was, over all cold cells."""
        found = {}
        for model in self.models("cold"):
            mine = [each for each in self.results if (each.model, each.scenario) == (model, "cold")]
            found[model] = Rates(
                train=_mean([each.train_rate for each in mine if each.train_rate is not None]),
                transfer=float(np.mean([each.transfer_rate for each in mine])),
                served=_mean([each.served_rate for each in mine if each.served_rate is not None]),
                seconds=float(np.mean([each.seconds for each in mine])),
            )
        return found


def _by_seed(cells: Mapping[str, list[CellResult]], metric: Metric) -> dict[str, dict[int, float]]:
    figures = {
        model: {each.seed: value for each in results if (value := metric.of(each)) is not None}
        for model, results in cells.items()
    }
    return {model: values for model, values in figures.items() if values}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
