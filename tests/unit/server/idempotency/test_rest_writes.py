"""Test that a REST write repeated with its `Idempotency-Key` gets the first response."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse
from tests.unit.server.piped import operation, pipeline_state

from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.http.middleware.idempotency import IdempotentWrites
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.route_table import RouteTable
from super_advanced_agents.tenancy.context import current_context

_WRITES = {"permit": PermitKind.WRITE, "keyed": True}
OPERATIONS = (
    operation("POST", "/write", **_WRITES),
    operation("DELETE", "/write/{name}", **_WRITES),
    operation("POST", "/read"),
    operation("POST", "/stream", **_WRITES),
)


class ServedApplication:
    """Run a small application with the middleware, and record the requests that reach it."""

    def __init__(self, requests):
        self.bodies = []
        app = FastAPI()
        add_error_handlers(app)

        @app.post("/write", status_code=201)
        async def write(request: Request) -> Response:
            self.bodies.append(await request.body())
            return Response(str(len(self.bodies)), 201, {"x-own": "1"}, media_type="text/plain")

        @app.delete("/write/{name}", status_code=204)
        async def remove(name: str) -> Response:
            self.bodies.append(name)
            return Response(status_code=204 if len(self.bodies) == 1 else 404)

        @app.post("/read")
        async def read() -> int:
            self.bodies.append(b"")
            return len(self.bodies)

        @app.post("/stream")
        async def stream() -> StreamingResponse:
            self.bodies.append(current_context().notes.copy())

            async def pieces():
                yield b"data: 1\n\n"
                yield b"data: 2\n\n"

            return StreamingResponse(pieces(), media_type="text/event-stream")

        admission = Admission(permits=dict.fromkeys(PermitKind, 10), message_bytes=1_000)
        app.state.pipeline = pipeline_state(idempotency=requests, admission=admission).pipeline
        app.add_middleware(IdempotentWrites)
        app.add_middleware(PipelineMiddleware, routes=RouteTable(OPERATIONS))
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test")


@pytest.fixture
async def served(requests):
    application = ServedApplication(requests)
    async with application.client:
        yield application


async def test_repeated_rest_write_gets_the_first_response(served):
    """Status, headers and body are the same, and a header marks the repetition."""
    headers = {"Idempotency-Key": "k"}
    first = await served.client.post("/write", content=b"body", headers=headers)
    again = await served.client.post("/write", content=b"body", headers=headers)
    assert served.bodies == [b"body"]
    assert (first.status_code, first.text, first.headers["x-own"]) == (201, "1", "1")
    assert "idempotency-replayed" not in first.headers
    assert again.headers.pop("idempotency-replayed") == "true"
    assert (again.status_code, again.content, again.headers) == (first.status_code, first.content, first.headers)
    deleted = [await served.client.delete("/write/x", headers={"Idempotency-Key": "d"}) for _ in range(2)]
    assert [each.status_code for each in deleted] == [404, 404]
    assert len(served.bodies) == 2


async def test_rest_key_with_another_body_path_or_query_is_answered_422(served):
    """The problem names the header."""
    headers = {"Idempotency-Key": "k"}
    await served.client.post("/write", content=b"body", headers=headers)
    for other in (
        served.client.post("/write", content=b"other", headers=headers),
        served.client.post("/write?a=1", content=b"body", headers=headers),
        served.client.delete("/write/x", headers=headers),
    ):
        refused = await other
        assert refused.status_code == 422
        assert refused.json()["field"] == "Idempotency-Key"
    assert len(served.bodies) == 1


async def test_rest_write_with_an_empty_key_or_two_keys_is_answered_422(served):
    """The write is not carried out."""
    for headers in ([("idempotency-key", "")], [("idempotency-key", "a"), ("idempotency-key", "b")]):
        refused = await served.client.post("/write", content=b"body", headers=headers)
        assert refused.status_code == 422
    assert not served.bodies


async def test_rest_reads_and_streams_ignore_the_idempotency_key(served):
    """A read must not get an old result, and a stream is sent as it is made."""
    headers = {"Idempotency-Key": "k"}
    assert [(await served.client.post("/read", headers=headers)).text for _ in range(2)] == ["1", "2"]
    for _ in range(2):
        streamed = await served.client.post("/stream", headers=headers)
        assert streamed.text == "data: 1\n\ndata: 2\n\n"
    assert len(served.bodies) == 4


async def test_keyed_rest_write_with_a_too_long_body_is_answered_413(served):
    """The body is counted even if its length was not declared."""

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    refused = await served.client.post("/write", content=chunks(), headers={"Idempotency-Key": "k"})
    assert refused.status_code == 413
    assert not served.bodies
