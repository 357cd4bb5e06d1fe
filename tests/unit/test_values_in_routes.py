"""Matches and records work as values of routes in a FastAPI application of the library's user."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from super_advanced_agents import ExplainedMatch, Match, Record
from super_advanced_agents.types import Explanation, Signal

FOUND = {
    "uid": "u", "text": "hello", "score": 0.5, "similarity": 0.25, "metadata": {"type": "fact"},
    "source": "notes.md", "session": None, "created_at": 1.0, "updated_at": 2.0,
}  # fmt: skip


def _match() -> Match:
    named = {
        name: FOUND[name] for name in ("score", "similarity", "uid", "source", "session", "created_at", "updated_at")
    }
    return Match.of_stored("hello", '{"type": "fact"}', **named)


def _record() -> Record:
    return Record(
        uid="u", vector=np.array([1, 2], dtype=np.float32), metadata={"text": "hello"}, namespace="n", model_id=None,
        source="notes.md", session=None, created_at=1.0, updated_at=2.0, expires_at=None,
    )  # fmt: skip


@pytest.fixture
def client() -> TestClient:
    """Return a client of an application with a route for each value."""
    app = FastAPI()

    @app.get("/matches")
    async def matches() -> list[Match]:
        return [_match()]

    @app.get("/explained")
    async def explained() -> ExplainedMatch:
        signal = Signal(name="vector", value=0.5, scaled=0.5, weight=1.0, added=0.5)
        return ExplainedMatch.of(_match(), Explanation(signals=(signal,)))

    @app.get("/plain")
    async def plain():
        return {"results": [_match()]}

    @app.get("/record")
    async def record() -> Record:
        return _record()

    @app.post("/record")
    async def text_of(given: Record) -> str | None:
        return given.text

    return TestClient(app)


def test_fastapi_route_returns_a_match_as_an_object_with_one_text(client: TestClient) -> None:
    """The object has all fields of a search result."""
    assert client.get("/matches").json() == [FOUND]


def test_fastapi_route_returns_an_explained_match_with_its_explanation(client: TestClient) -> None:
    """The explanation is one more member."""
    body = client.get("/explained").json()
    assert body.pop("explanation")["signals"][0]["name"] == "vector"
    assert body == FOUND


def test_fastapi_route_without_return_type_returns_a_match_as_an_object(client: TestClient) -> None:
    """The framework encodes such values by itself."""
    [body] = client.get("/plain").json()["results"]
    assert (body["uid"], body["metadata"], body["source"]) == ("u", {"text": "hello", "type": "fact"}, "notes.md")


def test_fastapi_route_returns_a_record_with_its_vector_as_a_list(client: TestClient) -> None:
    """An array would otherwise be an error of the server."""
    body = client.get("/record").json()
    assert (body["uid"], body["vector"], body["metadata"]) == ("u", [1.0, 2.0], {"text": "hello"})


def test_fastapi_route_reads_a_record_from_a_body(client: TestClient) -> None:
    """The body is what another route returned."""
    assert client.post("/record", json=client.get("/record").json()).json() == "hello"


def test_match_unpacks_and_indexes_as_a_triple() -> None:
    """Its metadata is parsed on first use, so unpacking must parse it."""
    metadata, score, uid = match = _match()
    assert (metadata, score, uid) == ({"text": "hello", "type": "fact"}, 0.5, "u")
    assert (match[0], match[1], match[-1]) == (metadata, score, uid)
    assert match == (metadata, score, uid)
