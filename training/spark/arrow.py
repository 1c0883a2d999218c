"""Arrow schemas as Spark writes them."""

from __future__ import annotations

import pyarrow as pa

_NAMES = {"string": "string", "double": "double", "float": "float", "int64": "long", "int32": "int", "bool": "boolean"}


def ddl(schema: pa.Schema) -> str:
    """``schema`` in Spark's language: ``name type, ...``; lists of plain types too."""
    return ", ".join(f"`{field.name}` {_kind(field.type)}" for field in schema)


def _kind(kind: pa.DataType) -> str:
    return f"array<{_kind(kind.value_type)}>" if pa.types.is_list(kind) else _NAMES[str(kind)]
