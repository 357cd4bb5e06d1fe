"""Matches and records in a FastAPI application of somebody else's."""

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
    """An application with a route for each value."""
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


def test_match_in_a_route_is_an_object_in_which_the_text_stands_once(client: TestClient) -> None:
    """All that a search result knows, by name."""
    assert client.get("/matches").json() == [FOUND]


def test_explained_match_in_a_route_has_its_explanation(client: TestClient) -> None:
    """Beside the other members."""
    told = client.get("/explained").json()
    assert told.pop("explanation")["signals"][0]["name"] == "vector"
    assert told == FOUND


def test_match_in_a_route_without_a_type_is_an_object_too(client: TestClient) -> None:
    """Where the framework encodes what it is given."""
    [told] = client.get("/plain").json()["results"]
    assert (told["uid"], told["metadata"], told["source"]) == ("u", {"text": "hello", "type": "fact"}, "notes.md")


def test_record_in_a_route_is_an_object_with_a_list_of_numbers(client: TestClient) -> None:
    """It used to be an error of the server."""
    told = client.get("/record").json()
    assert (told["uid"], told["vector"], told["metadata"]) == ("u", [1.0, 2.0], {"text": "hello"})


def test_record_in_a_body_is_read(client: TestClient) -> None:
    """What one route gave another takes."""
    assert client.post("/record", json=client.get("/record").json()).json() == "hello"


def test_match_unpacks_and_indexes_as_a_triple() -> None:
    """As it did when it was a tuple, and the metadata is parsed then."""
    metadata, score, uid = match = _match()
    assert (metadata, score, uid) == ({"text": "hello", "type": "fact"}, 0.5, "u")
    assert (match[0], match[1], match[-1]) == (metadata, score, uid)
    assert match == (metadata, score, uid)
