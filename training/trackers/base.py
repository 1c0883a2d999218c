"""The interface of trackers, which record the figures of training runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from training.fitting.loop import Progress
from training.run.run import Watch

Settings = Mapping[str, Mapping[str, Any]]
"""[section][setting], plain values."""


class TrackedRun(ABC):
    """One run of a tracker; figures by name, such as ``diffcdr/rmse``."""

    @abstractmethod
    def figures(self, values: Mapping[str, float], *, step: int) -> None:
        """Figures of epoch ``step`` (from 1), or final ones at step 0.

        Raises:
            InputError: they cannot be kept.
        """

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Nothing more comes; all is kept. ``failed``: the run ended with an error."""


class Tracker(ABC):
    """A store of runs."""

    @abstractmethod
    def start(self, name: str, settings: Settings) -> TrackedRun:
        """Begin the run called ``name``.

        Raises:
            InputError: what was given as the tracker's place cannot be used.
        """


class Trackers:
    """The trackers of a command, of which there may be none."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers

    @contextmanager
    def run(self, name: str, settings: Settings) -> Iterator[Tracking]:
        """A run in all of them, closed at the block's end, whatever happens in it."""
        with ExitStack() as stack:
            runs = []
            for tracker in self._trackers:
                runs.append(tracker.start(name, settings))
                stack.push(_closing(runs[-1]))
            yield Tracking(runs)


def _closing(run: TrackedRun) -> Callable[[type[BaseException] | None, BaseException | None, object], None]:
    return lambda kind, error, trace: run.close(failed=kind is not None)


class Tracking:
    """One run, in every tracker of the command."""

    def __init__(self, runs: Sequence[TrackedRun]) -> None:
        self._runs = runs

    def epoch(self, step: str, number: int, figures: Mapping[str, float]) -> None:
        """Figures of epoch ``number`` (from 1) of the step named ``step``: losses, and those on validation users."""
        self._tell({f"{step}/{name}": value for name, value in figures.items()}, number)

    def watch(self, inner: Watch) -> Watch:
        """As ``inner``, and told of each epoch too."""

        @contextmanager
        def watch(step: str, epochs: int) -> Iterator[Progress]:
            with inner(step, epochs) as progress:

                def both(*, epoch: int, epochs: int, rows: int, figures: dict[str, float]) -> None:
                    if progress is not None:
                        progress(epoch=epoch, epochs=epochs, rows=rows, figures=figures)
                    self.epoch(step, epoch, figures)

                yield both

        return watch

    def final(self, scope: str, model: str, figures: Mapping[str, float]) -> None:
        """Final figures of ``model`` on the users of ``scope``: ``validation`` or ``test``."""
        self._tell({f"{scope}/{model}/{name}": value for name, value in figures.items()}, 0)

    def _tell(self, figures: Mapping[str, float], step: int) -> None:
        for run in self._runs:
            run.figures(figures, step=step)


def flat(settings: Settings) -> dict[str, str]:
    """``section.key`` -> the value as text."""
    return {f"{section}.{key}": str(value) for section, keys in settings.items() for key, value in keys.items()}
