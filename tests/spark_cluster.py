"""A real Spark of two executor processes on this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from tests.object_store import ACCESS
from training.spark.session import DEFAULTS

MASTER = "local-cluster[2,1,1024]"
LIGHT = "-Xss8m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Options under which a Java process is ready sooner."""


@contextmanager
def cluster(master: str = MASTER) -> Iterator[SparkSession]:
    """A session on two executors of one core; their logs, which Spark keeps in its own folder, go when it ends."""
    environment = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, **ACCESS}
    builder = SparkSession.builder.master(master).appName("tests")
    settings = {
        "spark.ui.enabled": "false",
        "spark.executor.memory": "1g",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.driver.extraJavaOptions": LIGHT,
        "spark.executor.extraJavaOptions": LIGHT,
    }
    for key, value in {**DEFAULTS, **settings}.items():
        builder = builder.config(key, value)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        try:
            yield session
        finally:
            logs = Path(pyspark.__file__).parent / "work" / session.sparkContext.applicationId
            session.stop()
            shutil.rmtree(logs, ignore_errors=True)
