"""Test that the OpenAPI document has the names, examples, errors and credentials that client generators need."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from starlette.testclient import TestClient

from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.http import openapi
from super_advanced_agents.server.http.route_options import EXTENSION
from super_advanced_agents.tenancy.settings import Settings

DOCUMENT = create_app(Settings(data_dir=Path("nowhere"))).openapi()
OPERATIONS = {
    f"{method} {path}": operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_openapi_operation_has_a_name_a_summary_a_description_and_tags(name):
    """The name is in camel case."""
    operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)*", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]


def test_openapi_operations_and_schemas_have_unique_names():
    """The second schema of a name would be named after its module's path."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert not [shape for shape in DOCUMENT["components"]["schemas"] if "__" in shape]


def _contents(operation):
    bodies = [operation.get("requestBody", {})]
    bodies += [answer for code, answer in operation["responses"].items() if code.startswith("2")]
    return [(kind, content) for body in bodies for kind, content in body.get("content", {}).items()]


@pytest.mark.parametrize("name", OPERATIONS)
def test_openapi_examples_of_bodies_match_their_schemas(name):
    """This holds for requests and responses."""
    for kind, content in _contents(OPERATIONS[name]):
        if kind == "application/json":
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            jsonschema.validate(content["example"], schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", OPERATIONS)
def test_openapi_operation_lists_its_errors_and_its_credentials(name):
    """Every operation that is not public requires a credential."""
    operation = OPERATIONS[name]
    expected = {"403", "421", "500", "503"}
    if operation[EXTENSION] == "public":
        assert "security" not in operation
    else:
        assert {scheme for each in operation["security"] for scheme in each} == {"bearer", "apiKey"}
        expected |= {"401", "413", "415", "429", "504"}
    if "requestBody" in operation:
        expected |= {"422"}
    if "{" in name:
        expected |= {"404"}
    assert expected <= set(operation["responses"])


def test_openapi_errors_have_the_problem_schema():
    """Readiness and OpenAI's paths are exceptions, because their clients expect other shapes."""
    for name, operation in OPERATIONS.items():
        for code, answer in operation["responses"].items():
            if not code.startswith("2") and "openai" not in operation["tags"] and "$ref" not in answer:
                assert (name, code) == ("get /readyz", "503")
    for answer in DOCUMENT["components"]["responses"].values():
        [content] = answer["content"].values()
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_openapi_references_resolve():
    """The framework's own errors, which are never sent, are not in the document."""
    for reference in set(re.findall(r'"#(/components/[^"]*)"', json.dumps(DOCUMENT))):
        found = DOCUMENT
        for part in reference.strip("/").split("/"):
            found = found[part]
    assert "HTTPValidationError" not in DOCUMENT["components"]["schemas"]


def test_openapi_document_is_made_and_encoded_once_however_many_strangers_ask_for_it(tmp_path, monkeypatch):
    """They need no credential, and it takes 0.4 s of a processor."""
    made = []
    extend = openapi._extend_document
    monkeypatch.setattr(openapi, "_extend_document", lambda document: made.append(1) or extend(document))
    with (
        TestClient(create_app(Settings(data_dir=tmp_path)), base_url="http://127.0.0.1") as client,
        ThreadPoolExecutor(8) as threads,
    ):
        answers = list(threads.map(lambda _: client.get("/openapi.json"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json() == DOCUMENT for answer in answers)
    assert len(made) == 1
