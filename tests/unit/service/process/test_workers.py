"""The supervisor of workers: what it hears of those that die at an unlucky moment, and what it hands on to all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

BEGINNING = """
import logging, os, signal, sys, time
from diffcdr.errors import BundleError
from service.process.workers import Supervisor

# As on systems that do not have it.
signal.__dict__.pop("sigtimedwait", None)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def supervise(count, run, kind=Supervisor, **told):
    nothing = lambda *_: None
    hooks = {"on_ready": nothing, "on_death": nothing, "on_empty": nothing, "on_stop": nothing}
    kind(count, run, **{**hooks, **told}).serve()
"""

# It looks who is dead long after it has listened; meanwhile the worker says why it cannot serve, and ends.
DEAD_BY_THEN = """
class Slow(Supervisor):
    def _bury(self):
        time.sleep(0.2)
        super()._bury()

def run(index, ready):
    raise BundleError("this is why")

try:
    supervise(1, run, Slow)
except Exception as error:
    say(error.exit_code, error)
"""

# Workers write down every signal they get; the parent sends itself one after the other, each once all have the last.
HANDED_ON = """
got = os.pipe()
parent = os.getpid()

def run(index, ready):
    stops = []
    def note(number, frame):
        stops.append(number)
        os.write(got[1], bytes([number]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    ready()
    while len(stops) < len(SENT):
        time.sleep(0.001)

SENT = [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]

def send():
    if os.fork() == 0:
        for number in SENT:
            os.kill(parent, number)
            for _ in range(3):
                say(signal.Signals(os.read(got[0], 1)[0]).name)
        os._exit(0)

supervise(3, run, on_ready=send, on_stop=lambda: say("stopping"))
say("over", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.set_wakeup_fd(-1))
"""

# Told to stop between the fork and the moment at which the worker is a process of its own.
JUST_FORKED = """
fork = os.fork

def slow_fork():
    pid = fork()
    if pid == 0:
        time.sleep(0.3)
    else:
        os.kill(pid, signal.SIGTERM)
    return pid

os.fork = slow_fork
stopped = []

def run(index, ready):
    say("not reached")

try:
    supervise(1, run, on_stop=lambda: say("the parent took it for its own"))
except Exception as error:
    say(error)
"""

# Signals that whoever started the process left blocked.
BLOCKED = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])

def run(index, ready):
    ready()
    signal.pause()

supervise(2, run, on_ready=lambda: os.kill(os.getpid(), signal.SIGTERM), on_stop=lambda: say("stopping"))
say("over", signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""

# Both are told to stop: one is suspended and never does.
SUSPENDED = """
def run(index, ready):
    ready()
    os.kill(os.getpid(), signal.SIGSTOP) if index == 0 else signal.pause()

logging.basicConfig(stream=sys.stdout, format="%(message)s")
try:
    supervise(2, run, on_ready=lambda: os.kill(os.getpid(), signal.SIGTERM), stop_seconds=0.3)
except Exception as error:
    say(error)
"""


def ran(program: str) -> list[str]:
    """What ``program`` says, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_why_a_worker_could_not_start_is_heard_even_if_it_is_dead_by_then() -> None:
    assert ran(DEAD_BY_THEN) == ["3 this is why"]


def test_every_worker_gets_every_signal_to_stop_as_often_as_it_comes() -> None:
    began, *got, over = ran(HANDED_ON)
    assert began == "stopping"
    assert got == ["SIGTERM"] * 3 + ["SIGTERM"] * 3 + ["SIGINT"] * 3
    assert over == "over True -1", "handlers are as they were"


def test_a_signal_to_a_worker_that_has_just_begun_is_not_taken_for_the_parents() -> None:
    assert ran(JUST_FORKED) == ["worker 0 ended with status -15 before it was ready; see the log"]


def test_a_signal_that_was_blocked_before_is_heard_all_the_same() -> None:
    assert ran(BLOCKED) == ["stopping", "over True"]


def test_a_worker_that_does_not_stop_in_time_is_killed() -> None:
    told, last = ran(SUSPENDED)
    assert re.fullmatch(r"worker 0 \(process \d+\) has not stopped within 0.3 s of being told to, and is killed", told)
    assert last == "1 workers did not stop in time and were killed; the log says which"
