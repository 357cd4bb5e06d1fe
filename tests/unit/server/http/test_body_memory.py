"""Test how much memory bodies hold that come slowly, in part or many at once, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.unit.server.http.raw_server import read_response, request

from super_advanced_agents.tenancy.context import ANYBODY

MIB = 1024 * 1024
TENANT = ANYBODY.tenant
_END = b"0\r\n\r\n"


async def _until(is_so):
    while not is_so():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


def _head(declared):
    return request("POST", "/search", f"Content-Length: {declared}")


async def test_declared_body_that_does_not_come_holds_no_room(start_server):
    """Neither does one of which only a little has come; other bodies of the tenant arrive meanwhile."""
    server = await start_server()
    async with AsyncExitStack() as silent:
        for n in range(32):
            await silent.enter_async_context(server.connection(_head(8 * MIB), b"x" * n))
        await _until(lambda: len(server.state.tasks) == 32)
        assert server.admission.request_bytes.in_flight == 0
        answer = await server.exchange(request(body=b"x" * 8 * MIB, close=True))
        assert b"<%d>" % (8 * MIB) in answer


async def test_body_holds_what_came_of_it_until_it_is_answered_or_its_client_leaves(start_server):
    """What it declares does not count."""
    server = await start_server()
    pool = server.admission.request_bytes
    async with server.connection(_head(8 * MIB), b"x" * MIB):
        await _until(lambda: pool.held_by(TENANT) >= MIB)
        assert pool.held_by(TENANT) <= 2 * MIB
    await _until(lambda: not pool.in_flight)
    async with server.connection(_head(MIB), b"x" * MIB) as (reader, _):
        assert (await reader.readuntil(_END)).startswith(b"HTTP/1.1 200 ")
    await _until(lambda: not pool.in_flight)


@pytest.mark.parametrize("declared", ["Content-Length: 8388608", "Transfer-Encoding: chunked"])
async def test_large_body_that_stalls_is_cut_off(start_server, declared):
    """A byte now and then does not help it: each further 64 KiB must come in time."""
    server = await start_server(body_stall_s=0.2)
    pool = server.admission.request_bytes
    chunk = b"20000\r\n" + b"x" * 131_072 + b"\r\n" if "chunked" in declared else b"x" * 131_072
    more = b"1\r\nx\r\n" if "chunked" in declared else b"x"
    async with server.connection(request("POST", "/search", declared), chunk) as (reader, writer):
        await _until(lambda: pool.in_flight)
        response = asyncio.create_task(read_response(reader))
        while not response.done():
            writer.write(more)
            await asyncio.wait({response}, timeout=0.02)
        status, _, problem = response.result()
        assert status == 408
        assert b"the next 65536 bytes of the request's body did not arrive within 0.2 s" in problem
    assert pool.in_flight == 0
    assert not server.app.arrived.is_set()


async def test_bodies_that_want_more_than_their_tenant_has_all_arrive(start_server):
    """They come in part, and then each waits for those before it instead of for all others."""
    server = await start_server(permits=64)
    all_came = asyncio.Barrier(16)

    async def send():
        async with server.connection(_head(8 * MIB), b"x" * 3 * MIB) as (reader, writer):
            await writer.drain()
            await all_came.wait()
            writer.write(b"x" * 5 * MIB)
            return await reader.readuntil(_END)

    answers = await asyncio.gather(*(send() for _ in range(16)))
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    await _until(lambda: not server.admission.request_bytes.in_flight)


async def test_body_that_waits_for_room_is_not_late(start_server):
    """The time in which the server does not read is not the client's."""
    server = await start_server(body_timeout_s=0.1, body_stall_s=0.1)
    pool, all_of_it = server.admission.request_bytes, 64 * MIB
    assert pool.enter_now(TENANT, all_of_it)
    async with server.connection(_head(MIB), b"x" * MIB) as (reader, _):
        await _until(lambda: pool.waiting)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        pool.leave(TENANT, all_of_it)
        assert (await reader.readuntil(_END)).startswith(b"HTTP/1.1 200 ")
