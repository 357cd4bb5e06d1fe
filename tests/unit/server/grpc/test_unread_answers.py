"""Test what the server keeps for gRPC clients that do not read their answers, and for how long."""

from __future__ import annotations

import asyncio
import gc
import types
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from tests.unit.server.grpc.conftest import connected_caller, opened_services
from tests.unit.server.grpc.raw_calls import DATA, RawConnection, framed
from tests.unit.server.grpc.test_answer_limits import _store

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.server.grpc.health import HEALTH
from super_advanced_agents.tenancy.settings import Settings

RECORDS, TEXT = 400, "x" * 50_000  # 20 MB, of which half a tenant's room is less
GET = messages.GetRequest(collection="notes", uids=[f"{i:05}" for i in range(RECORDS)])
LIST = messages.ListCollectionsRequest()
MIB = 1024 * 1024


def _credentials(folder, *tenants):
    table = KeyTable(Settings.load(data_dir=folder).server_dir)
    keys = [table.create(tenant=tenant, scopes=["admin"]).key for tenant in tenants]
    table.close()
    return [("authorization", f"Bearer {key}") for key in keys]


async def _ask(stack, caller, *metadata):
    connection = await stack.enter_async_context(RawConnection.opened(caller.address))
    stream = connection.open(methods.GET.path, *metadata)
    await connection.send(stream, framed(GET.SerializeToString()), end=True)
    return connection


async def _until(condition):
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition was not met within thirty seconds")


@pytest.mark.parametrize("watching", [False, True], ids=["alone", "beside a watch"])
async def test_client_that_does_not_read_its_answer_is_disconnected(tmp_path, watching):
    """Its answer counted until then, whatever else it reads on that connection."""
    async with (
        opened_services(tmp_path, write_timeout_s=0.5) as services,
        connected_caller(services) as caller,
        AsyncExitStack() as stack,
    ):
        await _store(caller, RECORDS, TEXT)
        connection = await _ask(stack, caller)
        if watching:
            watch = connection.open(f"/{HEALTH}/Watch")
            await connection.send(watch, framed(HealthCheckRequest().SerializeToString()))
            await connection.until(lambda: connection.frames[DATA, watch])
        await _until(lambda: services.sending.held_bytes > 20_000_000)
        async with asyncio.timeout(20):
            await connection.ended.wait()
        await _until(lambda: not services.sending.held_bytes)
        assert len((await caller.invoke(methods.LIST_COLLECTIONS, LIST)).collections) == 1


async def test_answers_that_nobody_reads_are_bounded_for_each_tenant(tmp_path):
    """Further ones are refused, and nothing is left of those; who reads gets the answer."""
    async with (
        opened_services(tmp_path) as services,
        connected_caller(services) as caller,
        AsyncExitStack() as stack,
    ):
        await _store(caller, RECORDS, TEXT)
        await _ask(stack, caller)
        await _until(lambda: services.sending.held_bytes)
        gc.disable()
        try:
            for _ in range(5):
                code, problem, _ = await caller.refusal(methods.GET, GET)
                assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
            frames = [each for each in gc.get_objects() if isinstance(each, types.FrameType)]
            kept = [value for frame in frames for value in frame.f_locals.values() if isinstance(value, bytes)]
            assert sum(map(len, kept)) < 40_000_000
        finally:
            gc.enable()
        assert services.sending.held_bytes < 32 * MIB
        await stack.aclose()
        await _until(lambda: not services.sending.held_bytes)
        channel = grpc.aio.insecure_channel(caller.address, options=[("grpc.max_receive_message_length", -1)])
        async with channel:
            reply = await channel.unary_unary(methods.GET.path)(GET.SerializeToString(), timeout=30)
        assert len(reply) > 20_000_000


async def test_connection_of_several_tenants_is_not_closed_for_one_that_does_not_read(tmp_path):
    """A proxy sends the calls of many over it; the answer counts for its tenant until it is read."""
    first, second = await asyncio.to_thread(_credentials, tmp_path, "default", "globex")
    async with (
        opened_services(tmp_path, auth=True, write_timeout_s=0.3) as services,
        connected_caller(services) as caller,
        AsyncExitStack() as stack,
    ):
        await _store(caller, RECORDS, TEXT, metadata=(first,))
        shared = await stack.enter_async_context(RawConnection.opened(caller.address))
        listing = shared.open(methods.LIST_COLLECTIONS.path, second)
        await shared.send(listing, framed(LIST.SerializeToString()), end=True)
        await shared.until(lambda: shared.frames[DATA, listing])
        stream = shared.open(methods.GET.path, first)
        await shared.send(stream, framed(GET.SerializeToString()), end=True)
        await _until(lambda: services.sending.held_bytes > 20_000_000)
        own = await stack.enter_async_context(RawConnection.opened(caller.address, window=0))
        stream = own.open(methods.LIST_COLLECTIONS.path, second)
        await own.send(stream, framed(LIST.SerializeToString()), end=True)
        async with asyncio.timeout(20):
            await own.ended.wait()  # so the time has passed for both
        assert not shared.ended.is_set()
        assert services.sending.held_bytes > 20_000_000
