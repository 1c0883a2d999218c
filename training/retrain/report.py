"""The report of one retraining: a JSON file for machines and a Markdown file for people."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from diffcdr.atomic import replacing_file
from diffcdr.errors import InputError
from training.retrain.comparison import Comparison

Outcome = Literal["published", "kept", "failed"]
_SAID: dict[Outcome, str] = {
    "published": "The new bundle was published.",
    "kept": "The new bundle was not published; the active one stays.",
    "failed": "The run failed, and everything is as it was.",
}


class RetrainReport(BaseModel):
    """One run. ``bundle``: its id if one was published; ``active``: id of the bundle that was there before.

    ``metrics``: of the published model and the baselines on the test users, by model.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    started_at: datetime
    seconds: float
    outcome: Outcome
    reason: str
    destination: str
    active: str | None = None
    bundle: str | None = None
    model: str | None = None
    events: int | None = None
    comparison: Comparison | None = None
    metrics: dict[str, dict[str, float]] = {}
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The same for people."""
        lines = [
            f"# Retraining of {self.started_at:%Y-%m-%d %H:%M} UTC",
            "",
            f"**{_SAID[self.outcome]}** {self.reason}",
        ]
        facts = {
            "bundle directory": self.destination,
            "active before": self.active and self.active[:12],
            "published": self.bundle and self.bundle[:12],
            "model": self.model,
            "events learnt from": None if self.events is None else f"{self.events:,}",
            "seconds": f"{self.seconds:.1f}",
        }
        lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items() if value)]
        if self.comparison is not None:
            found = self.comparison
            lines += [
                "",
                f"Compared on {found.users:,} held-out users whom neither bundle learnt from: ndcg@20 "
                f"{found.new_ndcg:.4f} against {found.active_ndcg:.4f} of the active bundle, difference "
                f"{found.difference:+.4f}, standard error {found.standard_error:.4f}.",
            ]
        if self.metrics:
            names = list(dict.fromkeys(name for figures in self.metrics.values() for name in figures))
            lines += ["", f"| model | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
            for model, figures in self.metrics.items():
                cells = (f"{figures[name]:.4f}" if name in figures else "" for name in names)
                lines.append(f"| {model} | {' | '.join(cells)} |")
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both files to ``folder``, named by the time of the run. Raises InputError if they cannot be written."""
        stem = f"retrain-{self.started_at:%Y%m%dT%H%M%S%fZ}"
        written = []
        try:
            for suffix, text in ((".json", self.model_dump_json(indent=2) + "\n"), (".md", self.markdown())):
                path = folder / f"{stem}{suffix}"
                with replacing_file(path) as staging:
                    staging.write_text(text, encoding="utf-8")
                written.append(path)
        except OSError as error:
            raise InputError(
                f"cannot write a report to {folder}: {error.strerror}; choose another --reports"
            ) from error
        return written[0], written[1]
