"""What is freed goes back to the system, and threads have few places to keep it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import host_tuning

HELD = """
import ctypes, os
from pathlib import Path
from service import host_tuning

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(100_000) for _ in range(600)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
full = resident()
# The last one stays, so that the heap's end cannot move down.
for block in blocks[:-1]:
    libc.free(block)
held = resident()
host_tuning.give_back()
print(full, held, resident())
"""
ARENAS = """
import ctypes, threading
from service import host_tuning

print(host_tuning.share_arenas())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(12)

def ask():
    libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=ask) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.malloc_stats()
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(host_tuning.__file__).parent.parent)
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env={"PYTHONPATH": root, **environment}, capture_output=True, text=True, check=True, timeout=60
    )


def test_what_is_free_below_what_is_used_goes_back() -> None:
    full, held, after = map(int, run(HELD).stdout.split())
    assert held > full - 20_000_000, "the allocator keeps it by itself"
    assert after < full - 50_000_000


def test_threads_share_few_arenas_unless_the_environment_says_how_many() -> None:
    shared = run(ARENAS)
    assert shared.stdout.split() == ["True"]
    assert len(re.findall(r"^Arena \d+:", shared.stderr, re.MULTILINE)) <= host_tuning.ARENAS
    told = run(ARENAS, MALLOC_ARENA_MAX="5")
    assert told.stdout.split() == ["False"]
    assert host_tuning.ARENAS < len(re.findall(r"^Arena \d+:", told.stderr, re.MULTILINE)) <= 5


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    host_tuning.give_back()
    assert host_tuning.share_arenas() is False
