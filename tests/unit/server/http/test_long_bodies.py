"""Long bodies are parsed and validated off the event loop, and refused as short ones are."""

from __future__ import annotations

import threading

import orjson
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import field_validator
from starlette.testclient import TestClient

from super_advanced_agents._runtime.concurrency.slices import SliceWorker
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_outline import MAX_CONTAINERS
from super_advanced_agents.protocol.json_parser import INLINE_BYTES
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.http.body import JSONRoute, json_response
from super_advanced_agents.server.http.endpoints import Endpoint, HotRoutes, add_endpoint
from super_advanced_agents.server.http.schemas.bodies import Body
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context
from super_advanced_agents.tenancy.settings import Settings

MANY = 8 * 1024 * 1024 // 3 - 100
SEARCHES = ("/search", "/v1/agents/default/search", "/v1/embeddings", "/v1/agents/default/memories")


@pytest.fixture
def client(tmp_path):
    """A client of a server without authentication and without models."""
    settings = Settings(data_dir=tmp_path, auth=False)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize("path", SEARCHES)
def test_8_mib_of_empty_objects_are_refused_with_their_count(client, path):
    """In routes of the framework, in hot ones and in OpenAI's, none of the objects is built."""
    body = b'{"query":"x","y":[' + b"{}," * MANY + b"{}]}"
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert f"{MAX_CONTAINERS:,} objects" in answer.text


@pytest.mark.parametrize("path", SEARCHES)
def test_long_body_with_a_duplicate_key_is_refused_as_a_short_one(client, path):
    """The length of a body changes nothing about what is valid."""
    for filler in (b"", b"x" * INLINE_BYTES):
        body = b'{"query":"' + filler + b'","query":"y"}'
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, "appears twice" in answer.text) == (422, True)


@pytest.mark.parametrize("path", ["/v1/collections/c/records", "/v1/agents/default/memories"])
def test_wrong_members_of_a_long_body_are_named_without_their_values(client, path):
    """The first wrong item of a list is enough; the rest is not validated."""
    items = [{"wrong": "secret" * 10}] * 5_000
    name = "memories" if "agents" in path else "vectors"
    answer = client.post(path, content=orjson.dumps({name: items}), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert name in answer.json()["field"]
    assert "secret" not in answer.text


def test_masses_of_members_and_items_are_refused_before_they_are_validated(client):
    """A million errors would take seconds to report."""
    for content in ({f"m{n}": n for n in range(50_000)}, {"query": [""] * 150_000}):
        answer = client.post("/search", content=orjson.dumps(content), headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert "holds more than" in answer.text


class _RecordingIn(Body):
    text: str

    @field_validator("text")
    @classmethod
    def _note_thread(cls, text):
        return threading.current_thread().name


class _RecordingEndpoint(Endpoint):
    async def respond(self, request, body=None, parameters=None):
        return json_response({"validated_in": body.text, "answered_in": threading.current_thread().name})


@pytest.fixture(params=["hot", "of the framework"])
def recording_client(request):
    """A client of one route, which tells the threads that validated a body and answered it."""
    endpoint = _RecordingEndpoint(operation=ops.SEARCH_MEMORIES, body=_RecordingIn)
    router = APIRouter(route_class=JSONRoute)
    add_endpoint(router, endpoint)
    app = FastAPI()
    app.include_router(router)
    if request.param == "hot":
        app.router.routes.insert(0, HotRoutes([endpoint]))
    worker = SliceWorker(name="conversions", max_queue=1)
    app.state.services = Services(runtime=None, authenticator=None, admission=None, limiter=None, idempotency=None)
    app.state.services.conversions = worker

    async def with_context(scope, receive, send):
        with active_context(RequestContext(principal=ANYBODY)):
            await app(scope, receive, send)

    yield TestClient(with_context)
    worker.close()


@pytest.mark.parametrize("size", [10, INLINE_BYTES + 1])
def test_only_long_bodies_are_validated_off_the_event_loop(recording_client, size):
    """Handing a short one to another thread would take longer than to parse it."""
    threads = recording_client.post("/v1/agents/a/search", json={"text": "t" * size}).json()
    assert (threads["validated_in"] == "conversions") == (size > INLINE_BYTES)
    assert threads["answered_in"] != "conversions"
