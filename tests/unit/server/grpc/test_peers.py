"""Test which gRPC connections may stay when there are too many, on a server with keys."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from tests.unit.server.grpc.conftest import Caller, opened_services
from tests.unit.server.grpc.raw_calls import DATA, RawConnection, framed

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1 import vector_store_pb2
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.server.grpc.health import HEALTH
from super_advanced_agents.server.grpc.server import GrpcServer
from super_advanced_agents.tenancy.settings import Settings

LIST = vector_store_pb2.ListCollectionsRequest()
WATCH = framed(HealthCheckRequest().SerializeToString())


@pytest.fixture
def key(tmp_path):
    """Create an API key, and return the metadata of its calls."""
    table = KeyTable(Settings.load(data_dir=tmp_path).server_dir)
    created = table.create(tenant="default", scopes=["admin"])
    table.close()
    return (("authorization", f"Bearer {created.key}"),)


@pytest.fixture(params=["127.0.0.1", "::1"])
async def server(tmp_path, request):
    """Start a server with room for 16 connections, 4 of strangers from one address."""
    options = {"host": request.param, "max_connections": 16, "max_connections_per_address": 4}
    async with (
        opened_services(tmp_path, auth=True, **options) as services,
        GrpcServer(services, services.runtime.settings) as running,
    ):
        yield running


async def _watching(server, stack):
    stranger = await stack.enter_async_context(RawConnection.opened(server.address))
    stream = stranger.open(f"/{HEALTH}/Watch")
    await stranger.send(stream, WATCH)
    return stranger, stream


async def _invoke_at_last(caller, key):
    """Call until the call is let in, as clients do."""
    async with asyncio.timeout(20):
        while True:
            with suppress(grpc.aio.AioRpcError):
                return await caller.invoke(methods.LIST_COLLECTIONS, LIST, metadata=key)


async def test_watches_of_a_stranger_do_not_keep_tenants_out(server, key):
    """Its oldest connections are closed, although calls are open on them; a tenant's are not."""
    async with AsyncExitStack() as stack:
        strangers = [await _watching(server, stack) for _ in range(16)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        caller = Caller(channel, server.address)
        await _invoke_at_last(caller, key)
        async with asyncio.timeout(20):
            while sum(not stranger.ended.is_set() for stranger, _ in strangers) > 4:
                await caller.invoke(methods.LIST_COLLECTIONS, LIST, metadata=key)
        later = [await _watching(server, stack) for _ in range(8)]
        async with asyncio.timeout(20):
            while sum(not stranger.ended.is_set() for stranger, _ in [*strangers, *later]) > 4:
                await caller.invoke(methods.LIST_COLLECTIONS, LIST, metadata=key)


async def test_connections_with_a_valid_credential_do_not_count_for_their_address(server, key):
    """Callers behind one proxy share its address."""
    async with AsyncExitStack() as stack:
        callers: list[RawConnection] = []
        for _ in range(8):  # each shows its credential before the next connects
            caller = await stack.enter_async_context(RawConnection.opened(server.address))
            callers.append(caller)
            stream = caller.open(methods.LIST_COLLECTIONS.path, *key)
            await caller.send(stream, framed(LIST.SerializeToString()), end=True)
            await caller.until(lambda caller=caller, stream=stream: caller.frames[DATA, stream])
        strangers = [await _watching(server, stack) for _ in range(6)]
        async with asyncio.timeout(20):
            while sum(stranger.ended.is_set() for stranger, _ in strangers) < 2:
                await asyncio.wait([asyncio.ensure_future(each.ended.wait()) for each, _ in strangers], timeout=0.1)
        assert not any(caller.ended.is_set() for caller in callers)
