"""An experiment in a directory: the cells that are missing, Figure 4's sample, and the report on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from training.data.domains import DomainPair
from training.experiment.embedding import COMPARABLE, SAMPLE, SEED, USERS, Sample, read_sample, sample_vectors, to_bytes
from training.experiment.plan import Block, Cell, Grid, Setup
from training.experiment.report.render import write_report
from training.experiment.report.report import make_report
from training.experiment.results import ResultsFile, of_cells
from training.experiment.runner import Begin, Failure, Outcome, run_blocks
from training.models.contract import TransferModel
from training.run.prepare import Prepared


@dataclass(frozen=True)
class _Split:
    """A prepared split, and the models fitted on it."""

    prepared: Prepared
    fitted: dict[str, TransferModel] = field(default_factory=dict)


class Experiment:
    """``grid`` on ``pair`` under ``setup``, kept in ``results``; begun anew or gone on with.

    Raises:
        InputError: ``results`` holds another experiment, or by every method: it cannot be read or written.
    """

    def __init__(self, pair: DomainPair, setup: Setup, grid: Grid, results: ResultsFile) -> None:
        """Identify the experiment in its directory."""
        results.identify(pair, setup)
        self._pair, self._setup, self._grid, self._results = pair, setup, grid, results
        self._shown: _Split | None = None
        self.failures: list[Failure] = []

    def finished(self) -> set[Cell]:
        """Cells of the grid with a result."""
        return {result.cell for result in self._results.read()} & set(self._grid.cells())

    def seconds(self) -> dict[Cell, float]:
        """How long each finished cell of the grid took, without the base models."""
        cells = set(self._grid.cells())
        return {result.cell: result.seconds for result in self._results.read() if result.cell in cells}

    def compute(self, *, jobs: int, begin: Begin = lambda cell: None) -> Iterator[Outcome]:
        """Compute the missing cells; each result is kept before it is yielded, each failure in ``failures``.

        ``jobs``: processes, each of which works on one split at a time; ``begin``: as in
        :func:`training.experiment.runner.run_blocks`.

        Raises:
            DiffCDRError: a worker process was killed.
        """
        blocks = self._grid.blocks(finished=self.finished())
        for outcome in run_blocks(self._pair, self._setup, blocks, jobs=jobs, keep=self._keep, begin=begin):
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
            else:
                self._results.append(outcome)
            yield outcome

    def stored_sample(self, *, users: int = USERS) -> Sample | None:
        """Figure 4's sample of this grid, if it was made before."""
        sample = read_sample(self._results.directory / SAMPLE)
        fits = sample is not None and sample.is_of(self.figure_4_models(), self._grid.test_fractions[0], users=users)
        return sample if fits else None

    def make_sample(self, *, users: int = USERS) -> Sample:
        """Make Figure 4's sample and store it; what was fitted for it by :meth:`compute` is not fitted again."""
        split = self._shown
        sample = sample_vectors(
            self._pair,
            self._setup,
            self.figure_4_models(),
            test_fraction=self._grid.test_fractions[0],
            users=users,
            prepared=split.prepared if split else None,
            fitted=split.fitted if split else {},
        )
        self._results.write_bytes(SAMPLE, to_bytes(sample))
        return sample

    def figure_4_models(self) -> Sequence[str]:
        """Models of the grid whose vectors Figure 4 can show together; none by time, as test users have no vectors."""
        if self._setup.config.split.by == "time":
            return []
        return [model for model in self._grid.models if model in COMPARABLE]

    def write_report(self, sample: Sample | None) -> None:
        """Write the report on all results there are, with Figure 4 where there is a ``sample``."""
        results = of_cells(self._results.read(), self._grid.cells())
        write_report(make_report(self._pair, self._setup, self._grid, results, sample=sample), self._results)

    def _keep(self, block: Block, prepared: Prepared) -> dict[str, TransferModel] | None:
        """Keep the split that Figure 4 shows."""
        if (block.test_fraction, block.seed) != (self._grid.test_fractions[0], SEED):
            return None
        self._shown = _Split(prepared)
        return self._shown.fitted
