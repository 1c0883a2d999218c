"""docs/reference/http.md: every operation of the REST interface, from the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from scripts import openapi
from scripts.reference.markdown import inline, table

PAGE = """# HTTP

Made from the OpenAPI document by `make reference`; a test compares it. The document itself, for generators of clients:
[openapi.json](openapi.json). A running service shows it at `/docs`, with examples to send.

Errors are `application/problem+json` (RFC 9457) with a stable `code`; every response carries `X-Request-ID`. Keys and
their scopes: [operations](../how-to/operations.md#keys).
"""
Schema = dict[str, Any]


def page() -> str:
    """The whole page."""
    document = json.loads(openapi.text())
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    rows = ((f"[`{m} {p}`](#{_anchor(m, p)})", operation["summary"]) for m, p, operation in operations)
    parts = [PAGE, table(("operation", "what it does"), rows)]
    for method, path, operation in operations:
        parts += _operation(method, path, operation, document)
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Schema, document: Schema) -> Iterator[str]:
    yield f"## {method} {path}\n"
    yield f"{operation['summary']}.\n"
    if text := operation.get("description"):
        yield f"{inline(text)}\n"
    if parameters := operation.get("parameters"):
        rows = [
            (f"`{one['name']}`", one["in"], _values(one["schema"]), _default(one["schema"], one.get("required", False)),
             one.get("description") or one["schema"].get("description", ""))
            for one in parameters
        ]  # fmt: skip
        yield table(("parameter", "in", "values", "default", "meaning"), rows)
    body = operation.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        yield from _body(f"Body, `{kind}`", content.get("schema", {}), document)
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            for kind, content in (response.get("content") or {"": {}}).items():
                title = f"Response {status}" + (f", `{kind}`" if kind else ": no body")
                yield from _body(title, content.get("schema", {}), document)
    others = [(status, one["description"]) for status, one in operation["responses"].items() if status[0] != "2"]
    yield table(("status", "when"), sorted(others))


def _body(title: str, schema: Schema, document: Schema) -> Iterator[str]:
    many = schema.get("type") == "array"
    resolved = _resolve(schema["items"] if many else schema, document)
    yield f"**{title}**{', a list of' if many else ''}\n"
    if fields := resolved.get("properties"):
        required = resolved.get("required", [])
        rows = [
            (f"`{name}`", _values(field), _default(field, name in required), field.get("description", ""))
            for name, field in fields.items()
        ]
        yield table(("field", "values", "default", "meaning"), rows)


def _resolve(schema: Schema, document: Schema) -> Schema:
    if "$ref" in schema:
        found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _values(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        kind = f"list of {_values(schema.get('items', {}))}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("maxItems", "items ≤"))
        if key in schema
    ]
    return ", ".join([kind, *bounds])


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "required"
    value = schema.get("default")
    return "" if value in (None, [], "") else f"`{json.dumps(value)}`"


def _anchor(method: str, path: str) -> str:
    """What GitHub and the site make of the heading."""
    return f"{method.lower()}-{re.sub(r'[^a-z0-9_-]', '', path)}"
