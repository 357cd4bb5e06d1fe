"""What goes over the wire, seen by servers of the test's own: cancelled calls, refusals, redirects, other answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import orjson
import pytest

from super_advanced_agents import DistributedVectorStore, RemoteAgent
from super_advanced_agents.errors import (
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


class _Http:
    """Answers each request with the next of `answers`; what is None is not answered. Notes requests and hang-ups."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
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
                self.asked.set()
                answer = self.answers.pop(0)
                if answer is None:
                    await reader.read()
                    self.left.set()
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


def _answer(status, body, content_type="application/json", **headers):
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def _problem(error, status=422, **headers):
    return _answer(status, problem_of(error), "application/problem+json", **headers)


async def test_a_cancelled_call_hangs_up():
    """The server sees it at once, and the client works on."""
    async with (
        _Http(_answer(200, _COLLECTION), None, _answer(200, {"count": 3})).listening() as server,
        DistributedVectorStore(server.url, collection="c") as store,
    ):
        await store._adim()
        server.asked.clear()
        call = asyncio.ensure_future(store.acount())
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.left.wait()
        assert await store.acount() == 3


class _Slow(grpc.GenericRpcHandler):
    """Methods that never answer, and note when they are cancelled."""

    def __init__(self):
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

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
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.fixture
async def slow():
    """A gRPC server in the test's loop."""
    handler, server = _Slow(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    handler.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield handler
    await server.stop(0)


async def test_a_cancelled_grpc_call_is_cancelled_at_the_server(slow, served):
    """So nothing works on for nobody."""
    async with RemoteAgent(slow.url) as agent:
        call = asyncio.ensure_future(agent.aask("What?"))
        await slow.begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await slow.cancelled.wait()


async def test_a_stream_that_is_left_is_cancelled_at_the_server(slow, served):
    """The same, while its first piece is waited for."""
    async with RemoteAgent(slow.url) as agent:
        pieces = agent.astream_answer("What?")
        first = asyncio.ensure_future(anext(pieces))
        await slow.begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await slow.cancelled.wait()


async def test_a_stream_without_answers_is_given_up(slow, served):
    """After `timeout_s` for the next one."""
    async with RemoteAgent(slow.url, timeout_s=0.2) as agent:
        with pytest.raises(EngineUnavailableError, match="did not answer"):
            await anext(agent.astream_answer("What?"))
        await slow.cancelled.wait()


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("broken", field="metadatas[3]", hint="mend it"),
        PermissionDeniedError("not yours"),
        StoreFullError("full"),
    ],
)
async def test_errors_are_raised_as_the_server_raised_them(error):
    """Class, message, field and hint; what another attempt would not change is not tried again."""
    async with (
        _Http(_answer(200, _COLLECTION), _problem(error)).listening() as server,
        DistributedVectorStore(server.url, collection="c") as store,
    ):
        with pytest.raises(SuperAdvancedAgentsError) as raised:
            await store.acount()
    assert type(raised.value) is type(error)
    assert (str(raised.value), getattr(raised.value, "field", None)) == (str(error), getattr(error, "field", None))
    assert len(server.requests) == 2


async def test_a_busy_server_is_asked_again_when_it_said():
    """Also with the same idempotency key, when the first attempt is still at work there."""
    busy = _problem(OverloadedError("busy", retry_after_s=0.01), 429)
    at_work = _answer(409, {"detail": "at work"}, "application/problem+json", retry_after="0.01")
    async with (
        _Http(_answer(200, _COLLECTION), busy, at_work, _answer(200, {"deleted": 1})).listening() as server,
        DistributedVectorStore(server.url, collection="c", api_key="the-key") as store,
    ):
        assert await store.adelete(["a"]) == 1
    heads = [head.lower() for head, _ in server.requests]
    assert all("authorization: bearer the-key" in head for head in heads)
    keys = {line for head in heads[1:] for line in head.split("\r\n") if line.startswith("idempotency-key")}
    assert len(keys) == 1


async def test_a_server_that_is_busy_for_longer_than_there_is_time_is_not_waited_for():
    """The caller learns at once, and for how long."""
    limited = _problem(RateLimitedError("too many", retry_after_s=60), 429)
    async with (
        _Http(_answer(200, _COLLECTION), limited).listening() as server,
        DistributedVectorStore(server.url, collection="c", timeout_s=5) as store,
    ):
        with pytest.raises(RateLimitedError) as raised:
            await store.acount()
    assert raised.value.retry_after_s == 60


async def test_no_key_follows_a_redirect():
    """Nothing does."""
    async with _Http().listening() as elsewhere:
        redirect = _answer(307, b"", location=f"{elsewhere.url}/v1/collections/c")
        async with (
            _Http(redirect).listening() as server,
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
async def test_an_answer_of_another_program_is_an_error_of_the_tree(answer, error):
    """Whatever listens there."""
    async with (
        _Http(*[answer] * 10).listening() as server,
        DistributedVectorStore(server.url, collection="c", timeout_s=1) as store,
    ):
        with pytest.raises(error):
            await store.acount()


async def test_an_agents_uid_is_no_way_to_other_paths():
    """Dots and slashes arrive as they are."""
    async with (
        _Http(_answer(404, {"detail": "none"}, "application/problem+json")).listening() as server,
        RemoteAgent(server.url, "a") as agent,
    ):
        assert await agent.aget("../../x?y#z") is None
    assert server.requests[0][0].startswith("GET /v1/agents/a/memories/%2E%2E%2F%2E%2E%2Fx%3Fy%23z HTTP/1.1")
