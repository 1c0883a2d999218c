"""Metrics of several workers: whole while one of them begins or is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# A process of its own: where values are kept is set for all metrics that it makes from then on.
PROGRAM = """
import sys
from pathlib import Path
from service.metrics import Metrics, keep_values_in

folder = Path(sys.argv[1])
keep_values_in(folder, worker=0)
metrics = Metrics(folder=folder)
metrics.workers.set(1)
metrics.count_request(route="/livez", method="GET", status="200", seconds=0.1)
# As another worker makes them, the moment before it writes; and one that went away after it was listed.
for kind in ("counter", "histogram", "gauge_livesum", "gauge_livemin"):
    (folder / f"{kind}_1.db").touch()
    (folder / f"{kind}_2.db").symlink_to("gone")
print(metrics.render().decode())
"""


def test_files_that_a_worker_has_just_made_or_left_behind_are_passed_over(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\ndiffcdr_workers 1.0\n" in done.stdout
    assert 'diffcdr_requests_total{method="GET",route="/livez",status="200"} 1.0' in done.stdout
