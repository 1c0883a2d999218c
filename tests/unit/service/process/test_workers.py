"""What the supervisor hears of workers that die at an unlucky moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

# It looks who is dead long after it has listened; meanwhile the worker says why it cannot serve, and ends.
PROGRAM = """
import time
from diffcdr.errors import BundleError
from service.process.workers import Supervisor

class Slow(Supervisor):
    def _bury(self):
        time.sleep(0.6)
        super()._bury()

def run(index, ready):
    time.sleep(0.3)
    raise BundleError("this is why")

nothing = lambda *_: None
try:
    Slow(1, run, on_ready=nothing, on_death=nothing, on_empty=nothing, on_stop=nothing).serve()
except Exception as error:
    print(error.exit_code, error)
"""


def test_why_a_worker_could_not_start_is_heard_even_if_it_is_dead_by_then() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "3 this is why\n", done.stderr
