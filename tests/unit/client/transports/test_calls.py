"""Clients handle cancelled calls, refusals, redirects and foreign answers of servers that the tests write."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import orjson
import pytest

from super_advanced_agents import DistributedVectorStore, RemoteAgent
from super_advanced_agents.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    EngineUnavailableError,
    InvalidInputError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitedError,
    StoreFullError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.protocol.problems import problem_of

_COLLECTION = {"name": "c", "dim": 4, "metric": "cosine", "index": "auto", "storage": "fp32", "created_at": 0.0}


class _HttpServer:
    """Answer each request with the next of `answers`, or not at all if it is None; record requests and hang-ups."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.request_received = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def listening(self):
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _serve(self, reader, writer):
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lines = head.lower().split("\r\n")
                length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length")), 0)
                self.requests.append((head, await reader.readexactly(length)))
                self.request_received.set()
                answer = self.answers.pop(0)
                if answer is None:
                    await reader.read()
                    self.disconnected.set()
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.disconnected.set()
        finally:
            writer.close()


def _answer(status, body, content_type="application/json", **headers):
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def _problem(error, status=422, **headers):
    return _answer(status, problem_of(error), "application/problem+json", **headers)


async def test_cancelled_rest_call_closes_its_connection():
    """The client makes later calls all the same."""
    async with (
        _HttpServer(
            _answer(200, _COLLECTION), _answer(200, {"count": 3}), None, _answer(200, {"count": 3})
        ).listening() as server,
        DistributedVectorStore(server.url, collection="c") as store,
    ):
        assert await store.acount() == 3  # asks for the collection, too
        server.request_received.clear()
        call = asyncio.ensure_future(store.acount())
        await server.request_received.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.disconnected.wait()
        assert await store.acount() == 3


class _SilentMethods(grpc.GenericRpcHandler):
    """Methods that never answer, and record when they are cancelled."""

    def __init__(self):
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    def service(self, details):
        many = details.method.endswith("Stream")
        return (
            grpc.stream_stream_rpc_method_handler(self._many)
            if many
            else grpc.unary_unary_rpc_method_handler(self._one)
        )

    async def _one(self, request, context):
        await self._wait()

    async def _many(self, requests, context):
        await self._wait()
        yield b""

    async def _wait(self):
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.fixture
async def silent_server():
    """Yield a gRPC server in the test's loop whose methods never answer."""
    handler, server = _SilentMethods(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    handler.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield handler
    await server.stop(0)


async def test_cancelled_grpc_call_is_cancelled_at_the_server(silent_server, served):
    """The server must not go on working for a caller that has left."""
    async with RemoteAgent(silent_server.url) as agent:
        call = asyncio.ensure_future(agent.aask("What?"))
        await silent_server.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await silent_server.cancelled.wait()


async def test_cancelled_answer_stream_is_cancelled_at_the_server(silent_server, served):
    """The caller cancels while it waits for the first piece."""
    async with RemoteAgent(silent_server.url) as agent:
        pieces = agent.astream_answer("What?")
        first = asyncio.ensure_future(anext(pieces))
        await silent_server.started.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await silent_server.cancelled.wait()


async def test_answer_stream_raises_when_no_piece_arrives_within_timeout_s(silent_server, served):
    """`timeout_s` counts for each piece of a stream."""
    async with RemoteAgent(silent_server.url, timeout_s=1.0) as agent:
        with pytest.raises(EngineUnavailableError, match="did not answer"):
            await anext(agent.astream_answer("What?"))
        await silent_server.cancelled.wait()


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("broken", field="metadatas[3]", hint="mend it"),
        PermissionDeniedError("not yours"),
        StoreFullError("full"),
    ],
)
async def test_client_raises_the_servers_error_with_class_message_and_field(error):
    """A call that would fail again is not repeated."""
    async with (
        _HttpServer(_answer(200, _COLLECTION), _problem(error)).listening() as server,
        DistributedVectorStore(server.url, collection="c") as store,
    ):
        with pytest.raises(SuperAdvancedAgentsError) as raised:
            await store.acount()
    assert type(raised.value) is type(error)
    assert (str(raised.value), getattr(raised.value, "field", None)) == (str(error), getattr(error, "field", None))
    assert len(server.requests) == 2


async def test_write_is_repeated_after_retry_after_with_one_write_id():
    """A 409 means that the first attempt still runs at the server."""
    busy = _problem(OverloadedError("busy", retry_after_s=0.01), 429)
    at_work = _answer(409, {"detail": "at work"}, "application/problem+json", retry_after="0.01")
    async with (
        _HttpServer(_answer(200, _COLLECTION), busy, at_work, _answer(200, {"deleted": 1})).listening() as server,
        DistributedVectorStore(server.url, collection="c", api_key="the-key") as store,
    ):
        assert await store.adelete(["a"]) == 1
    assert all("authorization: bearer the-key" in head.lower() for head, _ in server.requests)
    bodies = [body for _, body in server.requests[1:]]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert orjson.loads(bodies[0])["write_id"]


async def test_new_collection_is_asked_for_again_with_one_idempotency_key():
    """The catalogue knows no write ids: the server replays its first reply."""
    missing = _problem(CollectionNotFoundError("none"), 404)
    busy = _problem(OverloadedError("busy", retry_after_s=0.01), 429)
    async with (
        _HttpServer(missing, busy, _answer(201, _COLLECTION), _answer(200, {"count": 0})).listening() as server,
        DistributedVectorStore(server.url, collection="c", dim=4) as store,
    ):
        assert await store.acount() == 0
    keys = [
        line for head, _ in server.requests for line in head.lower().split("\r\n") if line.startswith("idempotency-key")
    ]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_call_raises_at_once_when_retry_after_exceeds_timeout_s():
    """The error contains the seconds to wait."""
    limited = _problem(RateLimitedError("too many", retry_after_s=60), 429)
    async with (
        _HttpServer(_answer(200, _COLLECTION), limited).listening() as server,
        DistributedVectorStore(server.url, collection="c", timeout_s=5) as store,
    ):
        with pytest.raises(RateLimitedError) as raised:
            await store.acount()
    assert raised.value.retry_after_s == 60


async def test_redirect_raises_configuration_error_and_is_not_followed():
    """The API key must not reach another server."""
    async with _HttpServer().listening() as elsewhere:
        redirect = _answer(307, b"", location=f"{elsewhere.url}/v1/collections/c")
        async with (
            _HttpServer(redirect).listening() as server,
            DistributedVectorStore(server.url, collection="c", api_key="the-key") as store,
        ):
            with pytest.raises(ConfigurationError, match="redirects"):
                await store.acount()
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_answer(200, b"<html>", "text/html"), EngineUnavailableError),
        (_answer(200, {"other": 1}), EngineUnavailableError),
        (_answer(404, b"<html>", "text/html"), ConfigurationError),
        (_answer(413, b"", "text/plain"), InvalidInputError),
        (_answer(403, b"no", "application/problem+json"), PermissionDeniedError),
    ],
)
async def test_answer_of_a_foreign_server_raises_a_library_error(answer, error):
    """A proxy or another program may listen at the address."""
    async with (
        _HttpServer(*[answer] * 10).listening() as server,
        DistributedVectorStore(server.url, collection="c", timeout_s=1) as store,
    ):
        with pytest.raises(error):
            await store.acount()


async def test_memory_uid_with_dots_and_slashes_is_percent_encoded():
    """A uid must not select another path."""
    async with (
        _HttpServer(_answer(404, {"detail": "none"}, "application/problem+json")).listening() as server,
        RemoteAgent(server.url, "a") as agent,
    ):
        assert await agent.aget("../../x?y#z") is None
    assert server.requests[0][0].startswith("GET /v1/agents/a/memories/%2E%2E%2F%2E%2E%2Fx%3Fy%23z HTTP/1.1")
