"""MLflow: runs of the experiment ``diffcdr`` on a tracking server or in a file store."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from diffcdr.errors import InputError
from training.trackers.base import Settings, TrackedRun, Tracker, flat

EXPERIMENT = "diffcdr"
PARAMS_AT_ONCE = 100
"""The most that one call may log."""


class MLflowTracker(Tracker):
    """Settings are parameters; figures are metrics, with ``_at_`` for ``@`` in their names, which MLflow refuses."""

    def __init__(self, uri: str) -> None:
        """Raises InputError where the store at ``uri`` cannot be used."""
        if "://" not in uri or uri.startswith("file:"):
            # MLflow wants consent to its file store, which gets no new features. The extra brings no database, and
            # whoever names a directory has consented.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._uri = uri
        with _reaching(uri):
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = self._client.create_experiment(EXPERIMENT) if found is None else found.experiment_id

    def start(self, name: str, settings: Settings) -> TrackedRun:
        """Begin a run."""
        params = [Param(key, value) for key, value in flat(settings).items()]
        with _reaching(self._uri):
            run = self._client.create_run(self._experiment, run_name=name)
            for first in range(0, len(params), PARAMS_AT_ONCE):
                self._client.log_batch(run.info.run_id, params=params[first : first + PARAMS_AT_ONCE])
        return _Run(self._client, run.info.run_id, uri=self._uri)


class _Run(TrackedRun):
    def __init__(self, client: MlflowClient, run_id: str, *, uri: str) -> None:
        self._client, self._id, self._uri = client, run_id, uri

    def figures(self, values: Mapping[str, float], *, step: int) -> None:
        now = int(time.time() * 1000)
        with _reaching(self._uri):
            self._client.log_batch(
                self._id, metrics=[Metric(metric_name(name), value, now, step) for name, value in values.items()]
            )

    def close(self, *, failed: bool) -> None:
        with _reaching(self._uri):
            self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Turns what goes wrong with the store at ``uri`` into one sentence."""
    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot use the MLflow store {uri}: {reason}; give another --mlflow") from error


def metric_name(name: str) -> str:
    """``name`` with what MLflow does not allow replaced."""
    return re.sub(r"[^\w\-./ ]", "_", name.replace("@", "_at_"))
