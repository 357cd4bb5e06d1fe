"""Test that bodies are read strictly and results are answered in one shape, for every operation."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.protocol.operations import OPERATIONS
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.http.body import JSONRoute, json_response
from super_advanced_agents.server.http.endpoints import Endpoint, HotRoutes, add_endpoint
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.routes import agents, collections, memories, orchestrators
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import Match

ENDPOINTS = {
    each.operation.name: each
    for each in (*agents.ENDPOINTS, *collections.ENDPOINTS, *memories.ENDPOINTS, *orchestrators.ENDPOINTS)
}
WITH_BODY = [name for name, each in ENDPOINTS.items() if each.body is not None]
DOCUMENT = create_app(Settings(data_dir=Path("nowhere"))).openapi()


class _EchoEndpoint(Endpoint):
    """Answer with what the endpoint has read."""

    async def respond(self, request, body=None, parameters=None):
        return json_response({"read": type(body).__name__, "path": request.url.path, **request.path_params})


def _app(endpoint, *, hot):
    app = FastAPI()
    router = APIRouter(route_class=JSONRoute)
    add_error_handlers(app)
    echo = _EchoEndpoint(operation=endpoint.operation, body=endpoint.body)
    add_endpoint(router, echo)
    app.include_router(router)
    if hot:
        app.router.routes.insert(0, HotRoutes([echo]))
    return TestClient(app)


def _url(endpoint):
    path = endpoint.operation.path.replace(":path", "")
    return path.format(agent="a%20b", collection="c", orchestrator="o", uid="u")


@pytest.mark.parametrize("name", WITH_BODY)
@pytest.mark.parametrize("hot", [True, False], ids=["hot", "not hot"])
def test_unknown_member_of_a_body_is_answered_422_with_its_name(name, hot):
    """Every body of the table is strict, in hot routes and in the framework's."""
    endpoint = ENDPOINTS[name]
    client = _app(endpoint, hot=hot)
    verb = endpoint.operation.verb
    example = DOCUMENT["paths"][endpoint.operation.path.replace(":path", "")][verb.lower()]["requestBody"]
    sent = example["content"]["application/json"]["example"]
    assert client.request(verb, _url(endpoint), json=sent).status_code == 200
    refused = client.request(verb, _url(endpoint), json={**sent, "surplus": 1})
    assert refused.status_code == 422
    assert "surplus" in {each["field"] for each in refused.json()["errors"]}


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"query": "x"}},
        {"json": {"query": "x", "top_k": "5"}},
        {"json": {"query": "x", "weights": {"vector": "much"}}},
        {"json": {"queri": "x"}},
        {"json": []},
        {"content": b"{"},
        {"content": b'{"query": "x"}'},
        {"content": b'{"query": "x"}', "headers": {"content-type": "text/plain"}},
        {"content": b'{"query": "x", "query": "y"}', "headers": {"content-type": "application/json"}},
        {"content": b'{"query": NaN}', "headers": {"content-type": "application/json"}},
        {"content": b"1" * 5_000, "headers": {"content-type": "application/json"}},
        {"content": b""},
        {"content": b"", "headers": {"content-type": "application/json"}},
    ],
    ids=lambda sent: str(sent)[:40],
)
def test_hot_endpoint_answers_any_body_as_the_framework_does(sent):
    """Status, content type and field are the same."""
    answers = []
    endpoint = ENDPOINTS["searchMemories"]
    for hot in (True, False):
        answer = _app(endpoint, hot=hot).post(_url(endpoint), **sent)
        content = answer.json()
        field = content.get("field") or ("body" if answer.status_code == 422 else None)
        answers.append((answer.status_code, answer.headers["content-type"], field, content.get("agent")))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 415, 422)


def test_openapi_document_lists_every_operation_with_a_route():
    """Verbs, paths and names are those of the table, and hot operations are included; HEAD goes without saying."""
    described = {
        operation["operationId"]: (verb.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for verb, operation in item.items()
    }
    in_table = {
        each.name: (each.verb, each.path.replace(":path", ""))
        for each in OPERATIONS
        if each.path and each.verb != "HEAD" and each not in (ops.DOCUMENT, ops.MCP, ops.MCP_AGENT)
    }
    assert described == in_table
    assert {name for name, each in ENDPOINTS.items() if each.operation.hot} == {
        each.name for each in OPERATIONS if each.hot
    }


def test_search_of_the_default_agent_accepts_the_body_of_agent_search():
    """A filter that was dropped would show the memories of everybody."""
    body = ENDPOINTS["search"].body
    assert body is ENDPOINTS["searchMemories"].body
    read = TypeAdapter(body).validate_python({"query": "boat", "where": {"user": "lea"}, "explain": True}).build()
    assert (read.where, read.explain, read.top_k) == ({"user": "lea"}, True, 5)


def test_update_body_keeps_absent_fields_and_clears_null_ones():
    """An absent field is an ellipsis in the request."""
    body = TypeAdapter(ENDPOINTS["updateMemory"].body)
    read = body.validate_python({"source": None}).build(uid="u")
    assert (read.source, read.priority, read.expires_in_s) == (None, ..., ...)


def test_metadata_of_a_stored_row_is_answered_without_parsing_it():
    """The text is not part of it, because it is a member of its own."""
    stored = b'{"b":1.0,  "a":[1,2]}'
    columns = {"similarity": None, "source": None, "session": None, "created_at": None, "updated_at": None}
    match = Match.of_stored("words", stored, score=0.5, uid="u", **columns)
    answer = orjson.dumps({"results": json_of_result([match])})
    assert b'"metadata":' + stored in answer
    assert orjson.loads(answer)["results"][0]["text"] == "words"
    assert "metadata" not in vars(match)
