"""An image's file system run as a hardened container runs it, without a container engine.

Read-only root, a tmpfs at /tmp, the image's own user, environment and entry point, no new privileges, and every shell
covered by an empty file, so that whatever needs one fails here.
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SHELLS = ("bin/sh", "bin/dash", "bin/bash")
START_SECONDS = 120.0


@dataclass(frozen=True)
class Image:
    """What of an image's configuration a container engine acts on, and where its file system is mounted."""

    root: Path
    uid: int
    gid: int
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    folder: str

    @classmethod
    def read(cls, config: Mapping[str, Any], *, root: Path) -> Self:
        """From the OCI configuration. Raises AssertionError where the user is not given by numbers other than 0."""
        uid, _, gid = str(config.get("User", "")).partition(":")
        assert uid.isdigit() and gid.isdigit() and int(uid) and int(gid), f"the image runs as {config.get('User')!r}"
        environment = dict(pair.split("=", 1) for pair in config["Env"])
        return cls(
            root=root,
            uid=int(uid),
            gid=int(gid),
            environment=environment,
            entrypoint=tuple(config["Entrypoint"]),
            command=tuple(config["Cmd"]),
            folder=config["WorkingDir"],
        )


class Sandbox:
    """Runs commands in ``image``. ``bundles``: the folder mounted at /bundles, and whether it may be written."""

    def __init__(self, image: Image, bundles: Mapping[Path, bool]) -> None:
        self.image = image
        ((self._bundles, self._writable),) = bundles.items()
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def start(self, *command: str, **settings: str) -> subprocess.Popen[str]:
        """Start ``command`` in the image, with ``settings`` added to its environment."""
        root = self.image.root
        mounts = [
            f"mount --bind {root} {root}",
            f"mount -t tmpfs tmpfs {root}/tmp",
            f"chmod 1777 {root}/tmp",
            f"mount --rbind /dev {root}/dev",
            f"mount -t proc proc {root}/proc",
            f"mount --bind {self._bundles} {root}/bundles",
            *(f"mount --bind /dev/null {root}/{shell}" for shell in SHELLS if (root / shell).exists()),
            f"mount -o remount,bind,ro {root}",
        ]
        if not self._writable:
            mounts.append(f"mount -o remount,bind,ro {root}/bundles")
        # Shells are covered inside only; this one is the host's.
        script = "set -e\n" + "\n".join(mounts) + '\nexec "$@"'
        enter = ["setpriv", "--no-new-privs", "chroot", f"--userspec={self.image.uid}:{self.image.gid}", str(root)]
        inside = ["/usr/bin/env", "-C", self.image.folder, *command]
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *enter, *inside],
            env={**self.image.environment, "OMP_NUM_THREADS": "1", **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def finish(self, *command: str) -> str:
        """The output of ``command``. Raises AssertionError where it fails."""
        process = self.start(*command)
        output, _ = process.communicate()
        assert process.returncode == 0, f"{' '.join(command)} ended with status {process.returncode}:\n{output[-3000:]}"
        return output


def ask_service(sandbox: Sandbox) -> Iterator[str]:
    """Start the image's own command and see that it answers, and runs as it should; one line for each finding."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    image = sandbox.image
    settings = {"DIFFCDR_PORT": str(port), "DIFFCDR_ALLOW_ANONYMOUS": "true"}
    started = time.monotonic()
    process = sandbox.start(*image.entrypoint, *image.command, **settings)
    _wait_until_ready(process, port)
    yield f"ready after {time.monotonic() - started:.1f} s"
    body = b'{"user_id": "nobody has this id", "k": 3}'
    answer = _ask(port, "/v1/recommendations", body)
    assert b'"strategy":"popular"' in answer, answer
    yield "answers over HTTP"
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {str(image.uid)}, f"it runs as {fields['Uid']}"
    assert fields["NoNewPrivs"] == "1" and int(fields["CapEff"], 16) == 0, fields["CapEff"]
    yield f"runs as {image.uid}:{image.gid} without capabilities"
    writes = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"
    for place in ("/opt/diffcdr/x", "/bundles/x"):
        refused = sandbox.start("python", "-c", writes, place)
        output, _ = refused.communicate()
        assert refused.returncode != 0 and "Read-only file system" in output, f"{place} can be written: {output}"
    assert "PermissionError" in _output(sandbox, "import subprocess; subprocess.run(['/bin/sh', '-c', 'true'])")
    yield "root and bundle are read-only, and it needed no shell"
    assert "No module named" in _output(sandbox, "import torch")
    process.terminate()
    assert process.wait(60) == 0, f"SIGTERM ended it with status {process.returncode}"
    yield "stops with status 0 on SIGTERM, and holds no torch"


def _output(sandbox: Sandbox, program: str) -> str:
    output, _ = sandbox.start("python", "-c", program).communicate()
    return output


def _wait_until_ready(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stdout is not None
            raise AssertionError(
                f"the service ended with status {process.returncode}:\n{process.stdout.read()[-3000:]}"
            )
        try:
            _ask(port, "/readyz")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"the service was not ready within {START_SECONDS:g} s")


def _ask(port: int, path: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as response:
        content: bytes = response.read()
    return content
