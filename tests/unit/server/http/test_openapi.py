"""The OpenAPI document: whoever generates a client from it finds names, examples, errors and credentials."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.http.route_options import EXTENSION
from super_advanced_agents.tenancy.settings import Settings

DOCUMENT = create_app(Settings(data_dir=Path("nowhere"))).openapi()
OPERATIONS = {
    f"{method} {path}": operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_described(name):
    """By a name in camel case, a summary, a description, and a tag."""
    operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]


def test_no_two_operations_have_one_name():
    """Nor do two shapes: one would be called by its module's path."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert not [shape for shape in DOCUMENT["components"]["schemas"] if "__" in shape]


def _contents(operation):
    bodies = [operation.get("requestBody", {})]
    bodies += [answer for code, answer in operation["responses"].items() if code.startswith("2")]
    return [(kind, content) for body in bodies for kind, content in body.get("content", {}).items()]


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_have_examples_that_are_valid(name):
    """Every one that is sent, and every one that is answered."""
    for kind, content in _contents(OPERATIONS[name]):
        if kind == "application/json":
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            jsonschema.validate(content["example"], schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_and_credentials_are_told(name):
    """All an operation may answer with; a credential for each that is not public."""
    operation = OPERATIONS[name]
    wanted = {"403", "421", "500", "503"}
    if operation[EXTENSION] == "public":
        assert "security" not in operation
    else:
        assert {scheme for each in operation["security"] for scheme in each} == {"bearer", "apiKey"}
        wanted |= {"401", "413", "415", "429", "504"}
    if "requestBody" in operation:
        wanted |= {"422"}
    if "{" in name:
        wanted |= {"404"}
    assert wanted <= set(operation["responses"])


def test_errors_have_one_shape():
    """Problem details, but for what clients of other services expect."""
    for name, operation in OPERATIONS.items():
        for code, answer in operation["responses"].items():
            if not code.startswith("2") and "openai" not in operation["tags"] and "$ref" not in answer:
                assert (name, code) == ("get /readyz", "503")
    for answer in DOCUMENT["components"]["responses"].values():
        [content] = answer["content"].values()
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_leads_somewhere():
    """And the framework's own errors, which nobody ever sees, are not there."""
    for reference in set(re.findall(r'"#(/components/[^"]*)"', json.dumps(DOCUMENT))):
        found = DOCUMENT
        for part in reference.strip("/").split("/"):
            found = found[part]
    assert "HTTPValidationError" not in DOCUMENT["components"]["schemas"]
