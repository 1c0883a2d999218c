"""What is said before Spark is started, and what becomes of its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.errors import PySparkException

from diffcdr.commands.engines import load_engine
from diffcdr.errors import BundleError, InputError, MissingExtraError
from training.spark.session import check_java, clear_failures, parse_settings


def java(folder: Path, said: str, *, status: int = 0) -> Path:
    """A folder to name in JAVA_HOME, whose Java says ``said``."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 0, None),
        ('openjdk version "21" 2023-09-19', 0, None),
        ('openjdk version "11.0.2" 2019-01-15', 0, "is Java 11"),
        ('java version "1.8.0_402"', 0, "is Java 8"),
        ("something else", 0, "of an unknown version"),
        ("Error occurred during initialization of VM", 1, "cannot be run"),
    ],
)
def test_java_is_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: int, error: str | None
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path, said, status=status)))
    if error is None:
        check_java()
    else:
        with pytest.raises(InputError, match=f"{error}.*openjdk-17-jre-headless"):
            check_java()


def test_no_java_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cannot be run; install Java 17"):
        check_java()


def test_settings_of_spark() -> None:
    assert parse_settings(["spark.a=1", "spark.b = x=y"]) == {"spark.a": "1", "spark.b": "x=y"}
    for wrong in ("spark.a", "a=1"):
        with pytest.raises(InputError, match="--spark-conf"):
            parse_settings([wrong])


def test_an_engine_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'diffcdr\[flink\]'"):
        load_engine("flink", "score")


def test_errors_of_ours_come_back_as_they_were() -> None:
    text = "Job aborted\n  File x\ndiffcdr.errors.BundleError: bundle b is damaged; copy it again\n at scala"
    with pytest.raises(BundleError, match="^bundle b is damaged; copy it again$"), clear_failures("scoring"):
        raise PySparkException(text)
    gave_up = pytest.raises(InputError, match="Spark gave up scoring .out of memory.; its log has the rest")
    with gave_up, clear_failures("scoring"):
        raise PySparkException("out of memory\nat scala")
