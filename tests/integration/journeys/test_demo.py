"""``make demo``'s script on small files of one's own: the answer, the second run, Ctrl-C, and mistakes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests import web
from tests.command import said
from tests.servers import ENVIRONMENT
from tests.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with two small rating files."""
    path = tmp_path_factory.mktemp("demo")
    said("synth", "--out", path / "ratings", "--users", "200", "--items", "60", "--ratings-per-user", "12")
    return path


@contextmanager
def started(folder: Path, port: int, **settings: str) -> Iterator[subprocess.Popen[str]]:
    ratings = {"SOURCE": "ratings/films.parquet", "TARGET": "ratings/books.parquet", "PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.demo"],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), **ratings, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        try:
            yield demo
        finally:
            # SIGTERM, not SIGKILL: the demo takes its service with it.
            demo.terminate()


def test_once_prints_the_answer_and_then_nothing_is_trained_again(folder: Path, free_port: int) -> None:
    for attempt in ("first", "second"):
        with started(folder, free_port, DEMO_ONCE="1") as demo:
            shown, _ = demo.communicate(timeout=240)
        assert demo.returncode == 0, shown
        assert len(re.findall(r"^\d+ +The .* -?\d+\.\d{3} *$", shown, flags=re.MULTILINE)) == 20, shown
        assert '"strategy": "transfer"' in shown
        assert ("reused" in shown) is (attempt == "second")


def test_ctrl_c_stops_demo_and_service_without_a_traceback(folder: Path, free_port: int) -> None:
    address = f"http://127.0.0.1:{free_port}"
    with started(folder, free_port) as demo:
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        assert web.get(f"{address}/readyz").status_code == 200, shown
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=LIMIT_SECONDS)
    assert (demo.returncode, rest) == (130, ""), shown
    user = re.search(r'"user_id": "([^"]+)"', shown)
    assert user is not None and f"{address}/console/#/try?user={user[1]}" in shown
    with pytest.raises(httpx.ConnectError):
        web.get(f"{address}/livez")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"TARGET": ""}, "SOURCE and TARGET go together"),
        ({"SOURCE": "nowhere.csv"}, "SOURCE=nowhere.csv does not exist"),
        ({"PORT": "eighty"}, "PORT=eighty is not a port"),
    ],
)
def test_mistakes_get_one_sentence(folder: Path, free_port: int, settings: dict[str, str], says: str) -> None:
    with started(folder, free_port, **settings) as demo:
        shown, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert re.fullmatch(rf"error: {re.escape(says)}.*\n", shown), shown


def test_a_port_that_is_taken_is_found_before_any_work(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with started(folder, other.getsockname()[1]) as demo:
            shown, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert "is not free" in shown
    assert "$" not in shown
