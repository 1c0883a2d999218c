"""The data exchanged between Spark and executors: schemas in Spark's notation, and task numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

_NAMES = {"string": "string", "double": "double", "float": "float", "int64": "long", "int32": "int", "bool": "boolean"}


Work = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def on_numbers(session: SparkSession, count: int, work: Work, schema: pa.Schema) -> DataFrame:
    """What ``work`` makes of the numbers 0 to ``count`` - 1, each in a task of its own (see :func:`numbers`)."""
    return session.range(0, count, 1, count).mapInArrow(work, ddl(schema))


def numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    """The numbers that came to an executor."""
    return (number for batch in batches for number in batch.column("id").to_pylist())


def ddl(schema: pa.Schema) -> str:
    """``schema`` in Spark's language: ``name type, ...``; lists of plain types too."""
    return ", ".join(f"`{field.name}` {_kind(field.type)}" for field in schema)


def _kind(kind: pa.DataType) -> str:
    return f"array<{_kind(kind.value_type)}>" if pa.types.is_list(kind) else _NAMES[str(kind)]
