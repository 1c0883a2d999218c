"""Opens a Spark session, or says in one sentence why it cannot.

Java is asked for its version before it is started: what Spark itself says about a missing or an old one is a page of
stack traces.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from diffcdr.errors import BundleError, DeviceError, InputError

MIN_JAVA = 17
JAVA_REMEDY = f"install Java {MIN_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME"

DEFAULTS: Mapping[str, str] = {
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.sql.session.timeZone": "UTC",
    # The plan of several iterations of ALS, when it is sent, is deeper than Java's own limit.
    "spark.driver.extraJavaOptions": "-Xss8m",
    "spark.executor.extraJavaOptions": "-Xss8m",
    # Rows come back in the order and the number of parts that were asked for.
    "spark.sql.adaptive.enabled": "false",
}

_OWN = {error.__name__: error for error in (BundleError, DeviceError, InputError)}

T = TypeVar("T")


def check_java() -> None:
    """Make sure that there is a Java that Spark runs on.

    Raises:
        InputError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else Path(shutil.which("java") or "java")
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"Spark needs Java, and {java} cannot be run; {JAVA_REMEDY}") from error
    # "1.8.0_402" was Java 8; since then the first number is the version.
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None or int(found[1]) < MIN_JAVA:
        version = "of an unknown version" if found is None else found[1]
        raise InputError(f"Spark needs Java {MIN_JAVA}, and {java} is Java {version}; {JAVA_REMEDY}")


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Settings of Spark, ``KEY=VALUE`` each, as ``--spark-conf`` gives them; raises InputError where one is not."""
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key.startswith("spark."):
            raise InputError(f"--spark-conf {text!r} is not understood; write it as spark.executor.memory=4g")
        settings[key] = value
    return settings


@contextmanager
def open_session(master: str | None, settings: Sequence[str] = ()) -> Iterator[SparkSession]:
    """A Spark session for the block; one that is already there, of a notebook or a test, is used and stays open.

    Args:
        master: where, as Spark writes it; None for what ``spark.master`` says in Spark's own configuration, else all
            cores of this machine.
        settings: Spark's, as ``KEY=VALUE``; they go before :data:`DEFAULTS`.

    Raises:
        InputError: Spark cannot be started; also as :func:`check_java`.
    """
    given = parse_settings(settings)
    check_java()
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    # Executors on this machine run the same Python, with the same packages.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("diffcdr")
    if master is not None:
        builder = builder.master(master)
    for key, value in {**DEFAULTS, **given}.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # whatever of Java, Py4J or Spark it is that fails first
        raise InputError(
            f"Spark cannot be started on {master or 'the configured master'} ({_first_line(error)}); "
            "check --master and --spark-conf"
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


@contextmanager
def clear_failures(what: str) -> Iterator[None]:
    """Turn errors of Spark in the block into one sentence; ``what``: the work in progress.

    Errors of ours that executors raise come back as text inside Spark's; they are raised again as what they were.

    Raises:
        InputError: Spark gave up.
    """
    try:
        yield
    except (PySparkException, Py4JError) as error:
        ours = re.search(r"diffcdr\.errors\.(\w+): (.+)", str(error))
        if ours is not None:
            raise _OWN.get(ours[1], InputError)(ours[2].strip()) from error
        raise InputError(f"Spark gave up {what} ({_first_line(error)}); its log has the rest") from error


def map_numbers(session: SparkSession, count: int, work: Callable[[int], T]) -> list[T]:
    """``work`` of 0 to ``count`` - 1, each a task of its own on an executor."""
    return session.sparkContext.parallelize(range(count), count).map(work).collect()


def ask_executors(session: SparkSession, check: Callable[[int], object]) -> None:
    """Run ``check`` some times on every executor, as far as Spark spreads small tasks; raises what it raises."""
    with clear_failures("asking its executors"):
        map_numbers(session, 2 * max(2, session.sparkContext.defaultParallelism), check)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
