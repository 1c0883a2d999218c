"""The demo's hands: run a ``diffcdr`` command once for the same inputs, and hold the service."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from diffcdr.errors import DiffCDRError, InputError

ROOT = Path(__file__).resolve().parent.parent
STARTUP_SECONDS = 60.0
STOP_SECONDS = 30.0

out = Console(highlight=False, soft_wrap=True)


def once_per(inputs: dict[str, Any], *, stamp: Path, products: Sequence[Path], command: list[str]) -> None:
    """Run ``diffcdr COMMAND`` unless its ``products`` are there and ``stamp`` says the same ``inputs`` made them."""
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    made = all(product.is_file() for product in products) and stamp.is_file() and stamp.read_text() == fingerprint
    if made:
        show_command(command, note="unchanged since the last run, reused")
        return
    show_command(command)
    stamp.unlink(missing_ok=True)
    subprocess.run(diffcdr(command), check=True)
    stamp.write_text(fingerprint)


def file_fingerprint(path: Path) -> list[str | int]:
    """Path, size and time of a file; a folder's are those of the newest file in it."""
    files = [path] if path.is_file() else sorted(child for child in path.rglob("*") if child.is_file())
    sizes = [file.stat() for file in files]
    return [
        str(path.resolve()),
        sum(stat.st_size for stat in sizes),
        max((stat.st_mtime_ns for stat in sizes), default=0),
    ]


def code_fingerprint() -> str:
    """Changes when the code that generates data or trains does."""
    digest = hashlib.sha256()
    for package in ("diffcdr", "training"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def start_service(bundle: Path, *, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start ``diffcdr serve``; its output goes to ``log``."""
    command = ["serve", "--bundle", str(bundle), "--port", str(port)]
    show_command(command, note=f"log: {log}")
    # Nobody is to be drained on a demo's way out; a deployment keeps the default.
    environment = {"DIFFCDR_DRAIN_SECONDS": "0", **os.environ}
    with log.open("wb") as output:
        return subprocess.Popen(
            diffcdr(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0,
        )


def wait_until_ready(service: subprocess.Popen[bytes], address: str, *, bundle: str, log: Path) -> None:
    """Return once /readyz answers for the bundle whose id is ``bundle``.

    Raises:
        DiffCDRError: the service did not come up; the message has the end of its log.
    """
    deadline = time.monotonic() + STARTUP_SECONDS
    while service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=2) as response:
                if json.load(response).get("bundle") == bundle:
                    return
                # Another service took the port since it was found free; ours is about to say so and end.
                time.sleep(0.1)
        except OSError:
            time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise DiffCDRError(f"the service did not become ready; the end of its log, {log}:\n{tail}")


def stop(service: subprocess.Popen[bytes]) -> None:
    """Let the service finish what it is doing and wait for it; a second Ctrl-C ends it at once."""
    try:
        if service.poll() is None:
            service.terminate()
        service.wait(STOP_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        service.kill()
        service.wait()


def require_free_port(port: int) -> None:
    """Raises InputError where something listens on ``port`` already: better now than after training."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} is not free ({error.strerror}); choose another: PORT=8001 make demo"
            ) from error


def show_command(command: list[str], *, note: str = "") -> None:
    """Print a command as one would type it."""
    out.print(f"[bold]$ .venv/bin/diffcdr {shlex.join(command)}[/]" + (f"  [dim]# {note}[/]" if note else ""))


def diffcdr(command: list[str]) -> list[str]:
    """The installed ``diffcdr`` of this environment, called with ``command``."""
    return [str(Path(sys.executable).with_name("diffcdr")), *command]
