"""An object store that speaks S3 over HTTP, in a process of its own on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyarrow import fs

from bench.serving.processes import free_port
from tests.waiting import LIMIT_SECONDS, until

REGION = "us-east-1"
ACCESS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
"""What the environment of a process has to say that asks the store."""


@contextmanager
def object_store(bucket: str) -> Iterator[tuple[fs.S3FileSystem, str]]:
    """A file system of the store, and the URL of its empty ``bucket`` with ``{}`` for a path."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    system = fs.S3FileSystem(
        access_key=ACCESS["AWS_ACCESS_KEY_ID"],
        secret_key=ACCESS["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        region=REGION,
        allow_bucket_creation=True,
    )
    try:
        until(lambda: _made(system, bucket) or server.poll() is not None)
        assert server.poll() is None, "the store did not start"
        where = f"scheme=http&endpoint_override=127.0.0.1%3A{port}&region={REGION}"
        yield system, f"s3://{bucket}/{{}}?{where}"
    finally:
        server.terminate()
        server.wait(LIMIT_SECONDS)


def _made(system: fs.S3FileSystem, bucket: str) -> bool:
    try:
        system.create_dir(bucket)
    except OSError:
        return False
    return True
