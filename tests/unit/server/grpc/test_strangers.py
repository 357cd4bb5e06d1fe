"""Test what callers without a credential can make the gRPC server do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tests.unit.server.grpc.conftest import opened_services

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.server.grpc import health, reflection
from super_advanced_agents.server.grpc.server import GrpcServer, method_handlers
from super_advanced_agents.server.pipeline import _RefusedError
from super_advanced_agents.tenancy.settings import Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
async def handler(tmp_path):
    """Return the handlers of the public methods by name."""
    async with opened_services(tmp_path) as services:
        rpcs = [*health.health_rpcs(services, ()), *reflection.reflection_rpcs([health.HEALTH])]
        yield {rpc.method.path.rpartition("/")[2]: rpc.handler for rpc in rpcs} | {"services": services}


async def test_health_watches_share_one_timer_and_are_limited(handler):
    """A thousand are told of a change; one more is refused, until one ends."""
    async with AsyncExitStack() as stack:
        watches = [handler["Watch"](HealthCheckRequest(), None) for _ in range(1_000)]
        for watch in watches:
            stack.push_async_callback(watch.aclose)
            assert (await anext(watch)).status == HealthCheckResponse.NOT_SERVING
        # asyncio counts its timers nowhere else
        timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        assert len(timers) < 100
        with pytest.raises(_RefusedError, match="1000 health watches are open"):
            await anext(handler["Watch"](HealthCheckRequest(), None))
        await watches.pop().aclose()
        late = handler["Watch"](HealthCheckRequest(), None)
        stack.push_async_callback(late.aclose)
        await anext(late)
        handler["services"].draining = True
        handler["services"].runtime.embedding = None
        endings = await asyncio.gather(*(anext(watch, None) for watch in [*watches, late]))
        assert endings == [None] * 1_000


async def _endless(request):
    while True:
        yield request


async def _one(request):
    yield request


async def test_reflection_answers_a_hundred_requests_a_second_of_all_callers(handler):
    """The rest waits unread, so that a flood costs the others nothing."""
    listing = handler["ServerReflectionInfo"](_endless(ServerReflectionRequest(list_services="")), None)
    began = asyncio.get_running_loop().time()
    for _ in range(150):
        await anext(listing)
    await listing.aclose()
    assert asyncio.get_running_loop().time() - began > 0.4


async def test_reflection_refuses_long_requests_and_more_than_64_streams(handler):
    """A reply repeats its request, and a stream costs memory."""
    info = handler["ServerReflectionInfo"]
    with pytest.raises(InvalidInputError, match="1024 bytes"):
        await anext(info(_one(ServerReflectionRequest(file_containing_symbol="x" * 2_000)), None))
    streams = [info(_endless(ServerReflectionRequest(list_services="")), None) for _ in range(64)]
    for stream in streams:
        assert isinstance(await anext(stream), ServerReflectionResponse)
    with pytest.raises(_RefusedError, match="too many reflection streams"):
        await anext(info(_one(ServerReflectionRequest(list_services="")), None))
    for stream in streams:
        await stream.aclose()
    await anext(info(_one(ServerReflectionRequest(list_services="")), None))


async def test_reflection_can_be_turned_off(tmp_path):
    """Its service is unknown then, also to health checks."""
    async with opened_services(tmp_path) as services:
        settings = Settings.load(data_dir=tmp_path, auth=False, grpc_reflection=False)
        paths = [handler.path for handler in method_handlers(services, settings)]
        assert not any(reflection.REFLECTION in path for path in paths)
        assert f"/{health.HEALTH}/Check" in paths


async def test_connections_beyond_the_maximum_are_closed(tmp_path):
    """Those that are open stay."""
    settings = Settings.load(data_dir=tmp_path, auth=False, port=0, max_connections=2)
    async with (
        opened_services(tmp_path) as services,
        GrpcServer(services, settings) as server,
        AsyncExitStack() as stack,
    ):
        host, port = server.address.split(":")
        opened = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            writer.write(PREFACE)
            opened.append(reader)
        received = [await reader.read(9) for reader in opened[:2]]
        assert all(received)
        assert await opened[2].read() == b""
    assert grpc  # the thread of grpc.aio is shared by these tests
