"""Nothing of ours stays after a signal or a full disk, and what a killed run left is swept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffcdr.atomic import ABANDONED_AFTER_S, replacing_directory, reserving

HELD = """
import sys, time
from pathlib import Path
from diffcdr.atomic import replacing_directory
from diffcdr.cli import end_cleanly_when_told
end_cleanly_when_told()
with replacing_directory(Path(sys.argv[1])) as staging:
    (staging / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait() != 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    long_ago = time.time() - 2 * ABANDONED_AFTER_S
    left, young = tmp_path / ".out.a.staging", tmp_path / ".out.b.staging"
    for folder in (left, young):
        (folder / "new").mkdir(parents=True)
    os.utime(left, (long_ago, long_ago))
    with replacing_directory(tmp_path / "out") as living:
        os.utime(living.parent, (long_ago, long_ago))
        with replacing_directory(tmp_path / "out"):
            assert living.exists()
        assert not left.exists()
        assert young.exists()


def test_room_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError), reserving(tmp_path, 1 << 60):
        pass
    with reserving(tmp_path, 4096) as release:
        release()
    assert list(tmp_path.iterdir()) == []
