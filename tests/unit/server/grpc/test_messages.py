"""Test how the messages of a gRPC call are received: after the checks, in time, and within bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import struct
import sys

import grpc
import numpy as np
import pytest
from tests.unit.server.grpc.conftest import connected_caller, opened_services
from tests.unit.server.grpc.raw_calls import HEADERS, RawConnection

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.packing import pack_vectors
from super_advanced_agents.protocol.v1 import vector_store_pb2

COLLECTION = vector_store_pb2.CreateCollectionRequest(name="notes", dim=4)
ADD = vector_store_pb2.AddRequest(collection="notes", dim=4, vectors=pack_vectors(np.eye(3, 4, dtype=np.float32)))
STREAMS = (methods.ADD_STREAM, methods.SEARCH_STREAM)


async def _until(condition):
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition was not met within ten seconds")


async def test_call_without_credential_is_refused_before_its_message_arrives(tmp_path):
    """The metadata is enough, for one message as for a stream of them."""
    async with opened_services(tmp_path, auth=True) as services, connected_caller(services) as caller:
        for path in (methods.ADD.path, methods.ADD_STREAM.path):
            call = caller.channel.stream_stream(path)(timeout=30)  # which sends no message
            assert await call.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [methods.ADD, methods.SCAN_STREAM])
async def test_message_that_does_not_arrive_ends_the_call_and_holds_no_permit(tmp_path, method):
    """The time is that of a body over REST; while it is awaited, it counts as the largest message."""
    async with opened_services(tmp_path, body_timeout_s=0.3) as services, connected_caller(services) as caller:
        call = caller.channel.stream_stream(method.path)(timeout=30)
        await _until(lambda: services.admission.request_bytes.in_flight)
        assert services.admission.request_bytes.held_by("default") == services.admission.message_bytes
        assert not any(services.admission.pool(kind).in_flight for kind in ("search", "write"))
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert services.admission.request_bytes.in_flight == 0


async def test_awaited_message_without_room_ends_the_call(tmp_path):
    """Another tenant still has its share, and messages that arrive at once need none."""
    async with opened_services(tmp_path) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
        pool = services.admission.request_bytes
        assert pool.enter_now("default", 60 * 1024 * 1024)
        call = caller.channel.stream_stream(methods.ADD.path)(timeout=30)
        assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert pool.enter_now("globex", services.admission.message_bytes)
        assert len((await caller.invoke(methods.ADD, ADD)).uids) == 3


async def test_silent_stream_holds_no_permit_and_is_ended(tmp_path):
    """The limit of its silence begins anew with each answer."""
    async with opened_services(tmp_path, stream_idle_s=1.0) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
        stream = caller.channel.stream_stream(methods.ADD_STREAM.path)(timeout=30)
        for _ in range(2):
            await stream.write(ADD.SerializeToString())
            await stream.read()
            assert services.admission.pool("write").in_flight == 0
        assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert services.admission.streams.in_flight == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what has arrived")
async def test_half_a_message_of_a_stream_takes_room_and_must_come_whole_in_time(tmp_path):
    """Those beyond the tenant's share are refused; a stream on which nothing comes takes none."""
    half = b"\0" + struct.pack(">I", 7 * 1024 * 1024) + b"x" * 1024 * 1024
    async with (
        opened_services(tmp_path, body_timeout_s=1.5) as services,
        connected_caller(services) as caller,
        RawConnection.opened(caller.address) as silent,
        RawConnection.opened(caller.address) as client,
    ):
        pool, streams = services.admission.request_bytes, services.admission.streams
        idle = silent.open(methods.ADD_STREAM.path)
        stream = client.open(methods.ADD_STREAM.path)
        await client.send(stream, half)
        await _until(lambda: pool.held_by("default") == services.admission.message_bytes)
        assert pool.enter_now("default", 60 * 1024 * 1024 - services.admission.message_bytes)
        another = client.open(methods.ADD_STREAM.path)
        await client.send(another, half)
        await client.until(lambda: client.frames[HEADERS, another])
        await client.until(lambda: client.frames[HEADERS, stream])
        await _until(lambda: streams.in_flight == 1)
        assert not silent.frames[HEADERS, idle]
        assert pool.held_by("default") == 60 * 1024 * 1024 - services.admission.message_bytes


async def test_open_streams_of_a_tenant_are_bounded(tmp_path):
    """A further one is refused until one of them ends."""
    async with opened_services(tmp_path, streams_per_tenant=2) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
        opened = [caller.channel.stream_stream(method.path)(timeout=30) for method in STREAMS]
        await _until(lambda: services.admission.streams.in_flight == 2)
        code, problem, _ = await caller.refusal(methods.ADD_STREAM, ADD)
        assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
        assert len((await caller.invoke(methods.ADD, ADD)).uids) == 3  # no stream
        opened[0].cancel()
        await _until(lambda: services.admission.streams.in_flight < 2)
        assert len(await caller.invoke(methods.ADD_STREAM, ADD)) == 1
        opened[1].cancel()
        await _until(lambda: not services.admission.streams.in_flight)


async def test_message_of_a_stream_waits_for_a_permit_instead_of_being_refused(tmp_path):
    """Its caller would lose what it has sent before."""
    async with opened_services(tmp_path, writes_in_flight=1) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
        pool = services.admission.pool("write")
        async with services.admission.enter("write", "default"):
            adding = asyncio.create_task(caller.invoke(methods.ADD_STREAM, ADD))
            await _until(lambda: pool.waiting)
            await asyncio.sleep(0.1)  # four times as long as others wait
            assert not adding.done()
        assert len((await adding)[0].uids) == 3


async def test_large_message_takes_room_until_it_is_answered(tmp_path):
    """Nothing is left of it afterwards, whether it was one message or several."""
    vectors = pack_vectors(np.ones((900, 64), dtype=np.float32))
    large = vector_store_pb2.AddRequest(collection="wide", dim=64, vectors=vectors)
    async with opened_services(tmp_path) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, vector_store_pb2.CreateCollectionRequest(name="wide", dim=64))
        pool = services.admission.request_bytes
        assert pool.enter_now("default", 64 * 1024 * 1024 - 1_000)
        code, problem, _ = await caller.refusal(methods.ADD, large)
        assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
        adding = asyncio.create_task(caller.invoke(methods.ADD_STREAM, large, large))
        await _until(lambda: pool.waiting)
        pool.leave("default", 64 * 1024 * 1024 - 1_000)
        assert [len(reply.uids) for reply in await adding] == [900, 900]
        assert len((await caller.invoke(methods.ADD, large)).uids) == 900
        assert pool.in_flight == 0


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_message_is_refused_before_it_unfolds(caller, compression):
    """Also with a valid credential; the largest message is counted before it would unfold."""
    frame = b"\0" * 1_000_000
    assert len(gzip.compress(frame)) < 2_000
    call = caller.channel.unary_unary(methods.ADD.path)(frame, compression=compression, timeout=30)
    assert await call.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_call_without_any_message_is_refused(caller):
    """It is not an error of the server."""
    call = caller.channel.stream_unary(methods.ADD.path)(iter([]), timeout=30)
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
