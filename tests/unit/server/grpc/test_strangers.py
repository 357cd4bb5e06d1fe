"""Test what callers without a credential can make the gRPC server do."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from tests.unit.server.grpc.conftest import opened_services
from tests.unit.server.grpc.raw_calls import DATA, RawConnection, framed

from super_advanced_agents.server.grpc import health, reflection
from super_advanced_agents.server.grpc.peers import calling_peer
from super_advanced_agents.server.grpc.server import GrpcServer, method_handlers
from super_advanced_agents.tenancy.settings import Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture
async def handler(tmp_path):
    """Return the handlers of the public methods by name."""
    async with opened_services(tmp_path) as services:
        rpcs = [*health.health_rpcs(services, ()), *reflection.reflection_rpcs([health.HEALTH])]
        yield {rpc.method.path.rpartition("/")[2]: rpc.handler for rpc in rpcs} | {"services": services}


async def test_health_watches_share_one_timer_and_are_limited(handler):
    """A thousand are told of a change; for one more the oldest of the address with the most ends."""
    async with AsyncExitStack() as stack:

        async def begin(peer):
            token = calling_peer.set(peer)
            watch = handler["Watch"](HealthCheckRequest(), None)
            stack.push_async_callback(watch.aclose)
            assert (await anext(watch)).status == HealthCheckResponse.NOT_SERVING
            calling_peer.reset(token)
            return watch

        other = await begin("ipv4:192.0.2.1:4000")
        watches = [await begin(f"ipv4:192.0.2.2:{port}") for port in range(999)]
        # asyncio counts its timers nowhere else
        timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        assert len(timers) < 100
        late = await begin("ipv6:%5B2001:db8::1%5D:4000")
        assert await anext(watches.pop(0), None) is None
        handler["services"].draining = True
        handler["services"].runtime.embedding = None
        endings = await asyncio.gather(*(anext(watch, None) for watch in [other, *watches, late]))
        assert endings == [None] * 1_000


async def test_health_watch_ends_after_its_time(handler, monkeypatch):
    """Its client may begin another."""
    monkeypatch.setattr(health, "_WATCH_S", 0.1)
    watch = handler["Watch"](HealthCheckRequest(), None)
    assert await anext(watch)
    assert await anext(watch, None) is None


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


async def test_streams_of_reflection_that_end_cost_the_others_no_time(handler):
    """Each waited for a turn, and none of them took one."""
    info, request = handler["ServerReflectionInfo"], ServerReflectionRequest(list_services="")
    busy = info(_endless(request), None)
    for _ in range(105):  # no turn is free now
        await anext(busy)
    for _ in range(20):
        left = [asyncio.ensure_future(anext(info(_one(request), None))) for _ in range(50)]
        await asyncio.sleep(0)
        for waiting in left:
            waiting.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    async with asyncio.timeout(5):
        await anext(info(_one(request), None))
    await busy.aclose()


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (f"/{health.HEALTH}/Check", HealthCheckRequest(service="x" * 2_000)),
        (f"/{health.HEALTH}/Watch", HealthCheckRequest(service="x" * 2_000)),
        (f"/{reflection.REFLECTION}/ServerReflectionInfo", ServerReflectionRequest(list_services="x" * 2_000)),
    ],
    ids=["check", "watch", "reflection"],
)
async def test_long_message_of_a_stranger_is_refused_before_it_is_parsed(caller, path, request_):
    """Names are short; malformed bytes of that length get the same answer."""
    message = request_.SerializeToString()
    for sent in (message, b"\xff" * len(message)):
        call = caller.channel.stream_stream(path)(iter([sent]), timeout=30)
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "longer than 1024 bytes" in await call.details()


async def test_flood_of_requests_is_kept_by_its_client(tmp_path):
    """What the server has not read stays there, but for 64 KiB of each stream."""
    settings = Settings.load(data_dir=tmp_path, auth=False, port=0)
    request = framed(ServerReflectionRequest(list_services="").SerializeToString())
    async with (
        opened_services(tmp_path) as services,
        GrpcServer(services, settings) as server,
        RawConnection.opened(server.address, window=2**24) as flooder,
    ):
        stream = flooder.open(f"/{reflection.REFLECTION}/ServerReflectionInfo")
        sent = 0

        async def flood():
            nonlocal sent
            while True:
                await flooder.send(stream, request * 1_000)
                sent += len(request) * 1_000

        async with asyncio.TaskGroup() as group:
            flooding = group.create_task(flood())
            await flooder.until(lambda: flooder.frames[DATA, stream] >= 150)  # 100 at once, and 100 a second
            flooding.cancel()
        assert sent < 200_000


async def test_reflection_can_be_turned_off(tmp_path):
    """Its service is unknown then, also to health checks."""
    async with opened_services(tmp_path) as services:
        settings = Settings.load(data_dir=tmp_path, auth=False, grpc_reflection=False)
        paths = [handler.path for handler in method_handlers(services, settings)]
        assert not any(reflection.REFLECTION in path for path in paths)
        assert f"/{health.HEALTH}/Check" in paths


async def test_connections_beyond_the_maximum_are_closed(tmp_path):
    """Those that are open stay."""
    settings = Settings.load(data_dir=tmp_path, auth=False, port=0, max_connections=2, max_connections_per_address=2)
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filters")
async def test_address_that_floods_the_port_with_connections_can_open_no_more_for_a_while(tmp_path):
    """The kernel drops what it sends; other addresses, and one that has shown a credential, get in."""
    settings = Settings.load(data_dir=tmp_path, auth=False, port=0, max_connections_per_address=4)
    async with (
        opened_services(tmp_path) as services,
        GrpcServer(services, settings) as server,
        RawConnection.opened(server.address) as tenant,
    ):
        host, port = server.address.split(":")

        async def connects(source):
            try:
                async with asyncio.timeout(0.9):  # a dropped one is tried again after a second
                    _, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
            except TimeoutError:
                return False
            writer.close()
            return True

        async def all_connect(source):
            return all(await asyncio.gather(*(connects(source) for _ in range(50))))

        stream = tenant.open("/super_advanced_agents.v1.AgentService/ListAgents")
        await tenant.send(stream, framed(b""), end=True)
        await tenant.until(lambda: tenant.frames[DATA, stream])
        while await all_connect("127.0.0.2"):
            assert await all_connect("127.0.0.1")
        assert await connects("127.0.0.1")
        assert await connects("127.0.0.3")
