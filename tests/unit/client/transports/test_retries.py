"""A client asks again until its time is up, reads a bounded answer, and refuses to work in a forked process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents import DistributedVectorStore, RemoteAgent
from super_advanced_agents.client.transports.base import MAX_ANSWER_BYTES
from super_advanced_agents.client.transports.error_mapping import ForeignAnswerError
from super_advanced_agents.client.transports.retries import Retries
from super_advanced_agents.errors import EngineUnavailableError, OverloadedError

_AWAY = EngineUnavailableError("away")
_COLLECTION = b'{"name":"c","dim":4,"metric":"cosine","index":"auto","storage":"fp32","created_at":0.0}'


def _response(body):
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
async def listen():
    """Yield a function that serves connections with a coroutine and returns the URL."""
    servers = []

    async def start(serve):
        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


async def test_call_outlives_more_failures_than_any_fixed_number_of_attempts(listen):
    """A server that is away for a while is no error as long as the call's time is not up."""
    refused = 0

    async def serve(reader, writer):
        nonlocal refused
        await reader.readuntil(b"\r\n\r\n")
        if refused < 8:
            refused += 1
        else:
            writer.write(_response(_COLLECTION if refused == 8 else b'{"count": 3}'))
            refused += 1
        writer.close()

    async with DistributedVectorStore(await listen(serve), collection="c", timeout_s=60) as store:
        assert await store.acount() == 3
    assert refused >= 10


@given(timeout_s=st.floats(0.1, 600.0))
def test_pauses_end_before_the_deadline(timeout_s):
    """No attempt begins after the promised time, whatever the number of failures."""
    slept_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: slept_s)  # time passes only in pauses
    with pytest.MonkeyPatch.context() as patch, suppress(EngineUnavailableError):
        patch.setattr("super_advanced_agents.client.transports.retries.time", clock)
        retries = Retries(timeout_s)
        while slept_s < timeout_s:
            slept_s += retries.pause_s(_AWAY)
    assert 0 < slept_s < timeout_s


def test_pauses_grow_until_two_seconds():
    """A server that comes back must not be met by every waiting client at once."""
    retries = Retries(600.0)
    pauses = [retries.pause_s(_AWAY) for _ in range(12)]
    assert pauses[0] < 0.2
    assert all(2.0 <= pause <= 2.5 for pause in pauses[6:])


def test_last_error_is_raised_when_the_time_is_up():
    """The caller learns why the call failed, not that a counter has ended."""
    retries = Retries(0.001)
    with pytest.raises(EngineUnavailableError) as raised:
        retries.pause_s(_AWAY)
    assert raised.value is _AWAY


def test_server_that_says_when_to_come_back_is_asked_no_sooner():
    """A pause beyond the deadline ends the call at once."""
    assert 5.0 <= Retries(60.0).pause_s(OverloadedError("busy", retry_after_s=5.0)) <= 6.25
    with pytest.raises(OverloadedError):
        Retries(4.0).pause_s(OverloadedError("busy", retry_after_s=5.0))


def test_success_gives_the_next_failure_the_whole_time_again():
    """A stream may break often, as long as it moves on in between."""
    retries = Retries(30.0)
    for _ in range(10):
        retries.pause_s(_AWAY)
    retries.restart()
    assert retries.pause_s(_AWAY) < 0.2
    assert retries.left_s > 29.0


async def test_unreadable_answer_is_not_asked_for_again(listen):
    """Another program listens at the address: waiting for it would only delay the error."""
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_response(b"<html></html>"))
        writer.close()

    async with DistributedVectorStore(await listen(serve), collection="c", timeout_s=60) as store:
        with pytest.raises(EngineUnavailableError, match="cannot be read"):
            await store.acount()
    assert connections == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_answer_without_end_is_read_up_to_a_limit(listen, content_type):
    """A server gone wrong must not fill the memory of its clients."""
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        try:
            while sent < 4 * MAX_ANSWER_BYTES:
                writer.write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
                sent += 65536
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with RemoteAgent(await listen(serve), "a", timeout_s=60) as agent:
        reads = agent.acount() if content_type == "application/json" else anext(agent.astream_answer("What?"))
        with pytest.raises(ForeignAnswerError, match="longer"):
            await reads
    assert sent < 2 * MAX_ANSWER_BYTES


class _LongAnswers(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request, context):
        return b"\0" * (MAX_ANSWER_BYTES + 1)


@pytest.fixture
async def long_answers():
    """Yield the URL of a gRPC server that answers every call with more than a client reads."""
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((_LongAnswers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"grpc://127.0.0.1:{port}"
    await server.stop(0)


async def test_grpc_answer_beyond_the_limit_is_refused(long_answers, served):
    """The limit is the same over both transports."""
    async with RemoteAgent(long_answers, timeout_s=60) as agent:
        with pytest.raises(ForeignAnswerError, match="longer"):
            await agent.acount()


_FORKING = """
import os, sys
from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.errors import ResourceClosedError

def make():
    return DistributedVectorStore(sys.argv[1], collection="default", api_key=sys.argv[2], dim=4, timeout_s=20)

store = make()
store.count()
child = os.fork()
if child == 0:
    try:
        store.count()
    except ResourceClosedError:
        with make() as own:
            own.count()
        store.close()
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), store.count() >= 0)
store.close()
"""


def test_used_client_raises_in_a_forked_process_where_a_new_one_works(url, served):
    """The threads of the parent's connections do not exist there, so the call would hang."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _FORKING, url, served.key], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == ["7", "True"], (done.stderr, time.monotonic() - began)
