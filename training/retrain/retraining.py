"""One retraining: train, compare with what is active, publish if not worse; whatever fails leaves all as it was."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diffcdr.atomic import replacing_directory
from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import DiffCDRError, InputError
from diffcdr.event_weights import EventWeights
from training.data.events import read_events
from training.export.destination import check_destination
from training.retrain.comparison import Comparison, compare
from training.retrain.report import Outcome, RetrainReport
from training.train import Trained, fit


@dataclass(frozen=True)
class Retraining:
    """What to train again, and when to publish it.

    ``bundle``: the active bundle's directory, where a new one goes too; there may be none yet. ``inputs``: makes two
    files, the events as ``diffcdr events export`` writes them, and the users to leave out. ``fit``: the other arguments
    of :func:`training.train.fit`. ``min_events``: fewer that count are no reason to train. ``guard``: publish only what
    is not worse than the active bundle.
    """

    bundle: Path
    inputs: Callable[[], tuple[Path, Path]]
    fit: dict[str, Any]
    event_weights: str | None = None
    min_events: int = 1
    guard: bool = True
    histories: bool = True

    def run(self, say: Callable[[str], None] = lambda sentence: None) -> RetrainReport:
        """Do it, telling each step to ``say``. What goes wrong is in the report, whose outcome is ``failed`` then."""
        started, begun = datetime.now(UTC), time.monotonic()
        known: dict[str, Any] = {}
        try:
            outcome, reason = self._run(known, say)
        except DiffCDRError as error:
            outcome, reason = "failed", str(error)
        return RetrainReport(
            started_at=started,
            seconds=time.monotonic() - begun,
            outcome=outcome,
            reason=reason,
            destination=str(self.bundle),
            **known,
        )

    def _run(self, known: dict[str, Any], say: Callable[[str], None]) -> tuple[Outcome, str]:
        check_destination(self.bundle)
        known["active"] = active = open_bundle(self.bundle).id if self.bundle.exists() else None
        events, excluded = self.inputs()
        known["events"] = self._enough_events(events)
        say(f"{known['events']:,} events to learn from")
        trained = self._train(events, excluded, known)
        known["model"] = trained.published
        known["metrics"] = {name: metrics.as_dict() for name, metrics in trained.test.items()}
        return self._publish(trained, active, known, say)

    def _enough_events(self, events: Path) -> int:
        weights = None if self.event_weights is None else EventWeights.parse(self.event_weights, name="--event-weights")
        count = read_events(events, weights=weights, may_be_empty=True).counted()
        if count < self.min_events:
            raise InputError(
                f"{count:,} events count for training, and --min-events asks for {self.min_events:,}; nothing was "
                "trained, and the next run looks again"
            )
        return count

    def _train(self, events: Path, excluded: Path, known: dict[str, Any]) -> Trained:
        own: dict[str, Any] = {"exclude_users": excluded}
        if known["events"]:
            own |= {"events": events, "event_weights": self.event_weights}
        with warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always")
            trained = fit(**self.fit, **own)
        # A report is passed around: the ids of people who opted out do not belong into it.
        known["notes"] = tuple(str(each.message).partition("; it lists users such as")[0] for each in odd)
        return trained

    def _publish(
        self, trained: Trained, active: str | None, known: dict[str, Any], say: Callable[[str], None]
    ) -> tuple[Outcome, str]:
        """Write the bundle next to the active one, compare, and only then put it in its place."""
        compared: Comparison | None = None
        try:
            with replacing_directory(self.bundle.resolve()) as staging:
                bundle = trained.publish(staging, histories=self.histories)
                if active is not None and self.guard:
                    known["comparison"] = compared = compare(self.bundle, staging, trained.prepared)
                    if compared.worse:
                        raise _Worse(
                            f"ndcg@20 {compared.new_ndcg:.4f} is below the {compared.active_ndcg:.4f} of the active "
                            f"bundle by more than one standard error ({compared.standard_error:.4f})."
                        )
        except _Worse as found:
            return "kept", str(found)
        except OSError as error:
            raise InputError(f"cannot publish to {self.bundle}: {error.strerror}; what was there is there") from error
        known["bundle"] = bundle
        say(f"published {trained.published} as {self.bundle} (bundle {bundle[:12]})")
        if compared is not None:
            return "published", "It is not worse than the active bundle."
        return "published", "There was no active bundle." if active is None else "It was not compared (--no-guard)."


class _Worse(Exception):
    """Ends the writing of a bundle that is not to be published."""
