"""Tests; what is set here is set before anything is imported that reads it."""

from __future__ import annotations

import contextlib
import os
import signal

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
"""Tests run side by side: threads that wait for each other on few cores cost minutes."""

for _name, _value in THREADS.items():
    os.environ.setdefault(_name, _value)

# Under nohup it is ignored, and so would every service be that a test starts.
with contextlib.suppress(ValueError):  # not in a main thread
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
