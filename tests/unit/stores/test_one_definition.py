"""Tests that the arguments of a store operation are named only by its caller's interface and its engine."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from super_advanced_agents.stores import requests
from super_advanced_agents.stores.requests import QueryRequest, Request, WriteRequest

SOURCE = Path(requests.__file__).parent.parent
REQUESTS = [
    kind
    for kind in vars(requests).values()
    if isinstance(kind, type) and issubclass(kind, Request) and kind not in (Request, WriteRequest, QueryRequest)
]
DEFINED = {"stores/requests.py", "stores/base.py", "stores/writes.py"}
"""The files with the dataclasses and with the public operations."""

PASSED_ON = {
    "client": "carries requests",
    "protocol": "reads and writes their fields",
    "server": "makes them of what came",
    "tenancy": "passes them on",
}
"""The layers that every request passes, and what they do with it."""

OF_THEIR_OWN = {
    "uid", "uids", "vector", "vectors", "records", "where", "limit", "after", "query_vectors", "namespace",
    "source", "session", "priority", "expires_in_s", "write_id",
}  # fmt: skip
"""The arguments whose names these layers also use for something else, such as pages, paths and filters."""


def _named_with(path: Path, kinds: set[str]) -> set[str]:
    """Return the keyword arguments with which a module constructs these requests."""
    return {
        keyword.arg
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        for keyword in node.keywords
        if keyword.arg is not None
    }


@pytest.mark.parametrize("layer", PASSED_ON)
def test_layers_between_caller_and_engine_name_no_search_or_add_argument(layer: str) -> None:
    """A new argument then touches only the dataclass, the public operation, the message and the engine."""
    arguments = {each.name for kind in REQUESTS for each in fields(kind) if each.init} - OF_THEIR_OWN
    assert {"metadatas", "dedupe", "model_id", "return_scores", "explain", "weights", "top_k"} <= arguments
    kinds = {kind.__name__ for kind in REQUESTS}
    named = {
        str(path.relative_to(SOURCE)): found
        for path in (SOURCE / layer).rglob("*.py")
        if "v1" not in path.parts and (found := _named_with(path, kinds) & arguments)
    }
    assert named == {}


def test_public_operations_set_every_field_of_their_requests() -> None:
    """No field of a request can be set by internal code alone, but the id of a write that is repeated."""
    fields_set: dict[str, set[str]] = {}
    for name in sorted(DEFINED - {"stores/requests.py"}):
        for node in ast.walk(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                fields_set.setdefault(node.func.id, set()).update(key.arg for key in node.keywords if key.arg)
    for kind in REQUESTS:
        assert fields_set[kind.__name__] == {"bounds", *(each.name for each in fields(kind) if each.init)} - {
            "write_id"
        }
