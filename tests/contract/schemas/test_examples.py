"""The OpenAPI document has an example of everything, each is what its schema says, and the service takes each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import jsonschema_rs
import pytest

from service.app import create_app
from service.schemas.examples import EXAMPLES, MODEL_ID
from service.settings import Settings
from tests.bundles import write_bundle
from tests.serving import serving

DOCUMENT: dict[str, Any] = create_app(Settings.read(bundle="none")).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
NDJSON = "application/x-ndjson"
REFUSED = {"POST /v1/admin/models/rollback": 409}
"""What an example is answered with where that is no success: no other bundle was stable before."""
ERASURE = "DELETE /v1/users/{user_id}"
"""Comes last: afterwards nothing is told of the user of the examples."""


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def component(schema: dict[str, Any]) -> str | None:
    """The component that ``schema`` is, or a list of."""
    reference = str(schema.get("$ref") or schema.get("items", {}).get("$ref") or "")
    return reference.rpartition("/")[2] or None


def parameter_examples(parameter: dict[str, Any]) -> list[Any]:
    """Of a parameter: its examples, all its values, or its default."""
    schema = parameter["schema"]
    default = [schema["default"]] if schema.get("default") is not None else []
    return list(schema.get("examples") or schema.get("enum") or default)


def test_there_are_examples_of_every_schema_and_of_nothing_else() -> None:
    assert EXAMPLES.keys() == SCHEMAS.keys()
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("name", SCHEMAS)
def test_examples_are_what_the_schema_says(name: str) -> None:
    check = validator({"$ref": f"#/components/schemas/{name}"})
    for example in SCHEMAS[name]["examples"]:
        check.validate(example)
        assert not set(example) - set(SCHEMAS[name]["properties"])


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_part_of_an_operation_has_an_example(label: str) -> None:
    operation = OPERATIONS[label]
    for parameter in operation.get("parameters", ()):
        found = parameter_examples(parameter)
        assert found, parameter["name"]
        for example in found:
            validator(parameter["schema"]).validate(example)
    bodies = [operation["requestBody"], *operation["responses"].values()] if "requestBody" in operation else []
    for kind, described in ((kind, each) for body in bodies for kind, each in body.get("content", {}).items()):
        name = component(described["schema"])
        assert kind == "text/plain" or (name and SCHEMAS[name]["examples"]), (kind, described)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """A service of a bundle that has what the examples name, and the id of that bundle."""
    root = tmp_path_factory.mktemp("examples")
    write_bundle(root / "stable", console=True)
    write_bundle(root / "candidate", seed=1, console=True)
    with serving(root / "stable") as client:
        yield client, str(client.get("/readyz").json()["bundle"])


@pytest.mark.parametrize("label", sorted(OPERATIONS, key=lambda label: label == ERASURE))
def test_the_service_takes_every_example(served: tuple[httpx.Client, str], label: str) -> None:
    client, bundle = served
    method, _, path = label.partition(" ")
    asked = 0
    for request in requests(client, method, path, bundle=bundle):
        response = client.send(request)
        assert str(response.status_code) in OPERATIONS[label]["responses"]
        assert response.is_success or response.status_code == REFUSED.get(label), (str(request.url), response.text)
        # For the next example nobody is suppressed, and the same bundle is stable.
        client.delete("/v1/users/u00042/opt-out")
        client.post("/v1/admin/models/activate", json={"model": bundle})
        asked += 1
    assert asked


def requests(client: httpx.Client, method: str, path: str, *, bundle: str) -> Iterator[httpx.Request]:
    """The operation with each example of each of its parts; the model of the examples is the one that serves."""
    operation = OPERATIONS[f"{method} {path}"]
    parameters = operation.get("parameters", [])
    choices = [[(parameter, value) for value in parameter_examples(parameter)] for parameter in parameters]
    for chosen in itertools.product(*choices):
        address, query, headers = path, {}, {}
        for parameter, value in chosen:
            given = bundle if value == MODEL_ID else value
            if parameter["in"] == "path":
                address = address.replace(f"{{{parameter['name']}}}", given)
            elif parameter["in"] == "query":
                query[parameter["name"]] = given
            else:
                headers[parameter["name"]] = given
        for content in bodies(operation):
            body, kind = content or (b"", "")
            if kind:
                headers["content-type"] = kind
            yield client.build_request(
                method,
                address,
                params=query,
                headers=headers,
                content=body.replace(MODEL_ID.encode(), bundle.encode()) or None,
            )


def bodies(operation: dict[str, Any]) -> Iterator[tuple[bytes, str] | None]:
    """Each example of a body, of each media type; None where there is no body."""
    if "requestBody" not in operation:
        yield None
        return
    for kind, described in operation["requestBody"]["content"].items():
        examples = EXAMPLES[component(described["schema"]) or ""]
        if kind == NDJSON:
            yield b"".join(json.dumps(example).encode() + b"\n" for example in examples), kind
        elif described["schema"].get("type") == "array":
            yield json.dumps(list(examples)).encode(), kind
        else:
            for example in examples:
                yield json.dumps(example).encode(), kind
