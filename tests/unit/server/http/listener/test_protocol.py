"""Test slow, excess and refused connections, over raw sockets."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.unit.server.http.raw_server import read_response, request

from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.tenancy.context import ANYBODY


async def test_silent_connection_is_closed_without_a_response(start_server):
    """There was no request to respond to."""
    server = await start_server(header_timeout_s=0.05)
    assert await server.exchange() == b""


async def test_unfinished_headers_are_answered_408(start_server):
    """Bytes that keep coming do not extend the timeout."""
    server = await start_server(header_timeout_s=0.2)
    async with server.connection(b"POST /search HTTP/1.1\r\nHost: localhost\r\nX: ") as (reader, writer):
        response = asyncio.create_task(reader.read())
        while not response.done():
            writer.write(b"x")
            await asyncio.wait({response}, timeout=0.02)
        assert response.result().startswith(b"HTTP/1.1 408 ")
        assert b"headers did not arrive within 0.2 s" in response.result()
    assert not server.app.arrived.is_set()


async def test_unfinished_headers_of_a_later_request_are_answered_408(start_server):
    """An earlier complete request gives its connection no more time."""
    server = await start_server(header_timeout_s=0.1)
    response = await server.exchange(request(body=b"123"), b"POST /search HTTP/1.1\r\nHo")
    assert response.count(b"HTTP/1.1 ") == 2
    assert b"<3>" in response
    assert b"HTTP/1.1 408 " in response


@pytest.mark.parametrize("declared", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_unfinished_body_is_answered_408(start_server, declared):
    """The application is not called, and no permit is held meanwhile."""
    server = await start_server(body_timeout_s=0.1)
    async with server.connection(request("POST", "/search", declared), b"5\r\n12345\r\n") as (reader, _):
        response = await reader.read(1)
        assert server.admission.pool(PermitKind.SEARCH).in_flight == 0
        response += await reader.read()
    assert response.startswith(b"HTTP/1.1 408 ")
    assert response.count(b"HTTP/1.1 ") == 1
    assert b"body did not arrive within 0.1 s" in response
    assert not server.app.arrived.is_set()


async def test_connection_is_closed_when_an_unread_body_stays_unfinished(start_server):
    """A public operation reads no body and has responded, so there is no 408."""
    server = await start_server(body_timeout_s=0.1)
    response = await server.exchange(request("POST", "/unread", "Content-Length: 100"), b"123")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"408" not in response


async def test_unfinished_pipelined_request_does_not_end_the_stream_before_it(start_server):
    """Its timeout begins when the stream has ended."""
    server = await start_server(header_timeout_s=0.05)
    async with server.connection(request("GET", "/stream"), b"GET /he") as (reader, _):
        await reader.readuntil(b"begun\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        server.app.may_continue.set()
        rest = await reader.read()
        assert b"ended" in rest
        assert b"HTTP/1.1 408 " in rest


async def test_two_hundred_slow_connections_do_not_delay_a_request(start_server):
    """Each of them has sent one byte."""
    server = await start_server()
    async with AsyncExitStack() as slow:
        for _ in range(200):
            await slow.enter_async_context(server.connection(b"P"))
        assert b"<1>" in await server.exchange(request(body=b"1", close=True))


@asynccontextmanager
async def _saturated(server):
    """Hold all permits of the caller's searches, and fill their queue, during the block."""
    pool, tenant = server.admission.pool(PermitKind.SEARCH), ANYBODY.tenant
    server.admission.remember_caller("", tenant)  # as after its first request
    for _ in range(pool.capacity):
        assert await pool.enter(tenant)
    waiting = [asyncio.create_task(pool.enter(tenant)) for _ in range(pool.max_waiting)]
    await asyncio.sleep(0)
    assert server.admission.refuses(PermitKind.SEARCH, tenant)
    try:
        yield
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        for _ in range(pool.capacity):
            pool.leave(tenant)


async def test_overload_refusal_skips_the_body_and_keeps_the_connection(start_server):
    """The application is not called; the next request is answered when there is a permit."""
    server = await start_server(permits=1)
    async with server.connection() as (reader, writer):
        async with _saturated(server):
            for body in (b"", b"x" * 10, b"y" * 100_000):
                writer.write(request(body=body))
                status, head, response = await read_response(reader)
                assert status == 429
                assert b"\r\nretry-after: 1\r\n" in head
                assert b"\r\nconnection" not in head
                assert b'"error":"OverloadedError"' in response
            writer.write(request() + request("GET", "/v1/agents/a/memories"))
            assert [(await read_response(reader))[0] for _ in range(2)] == [429, 429]
        assert not server.app.arrived.is_set()
        writer.write(request(body=b"123", close=True))
        assert b"<3>" in await reader.read()


async def test_saturated_searches_do_not_refuse_writes_and_health_checks(start_server):
    """Each kind has permits of its own."""
    server = await start_server(permits=1)
    async with _saturated(server):
        assert b"<1>" in await server.exchange(request("POST", "/v1/agents/a/memories", body=b"1", close=True))
        assert b"HTTP/1.1 200 " in await server.exchange(request("GET", "/healthz", close=True))


async def test_overload_refusal_closes_a_connection_that_cannot_go_on(start_server):
    """The client asked for it, expects a 100 or sends too long a body; or the server stops."""
    server = await start_server(permits=1, max_body_bytes=1024)
    async with _saturated(server):
        for sent in (
            request(close=True),
            request("POST", "/search", "Expect: 100-continue", "Content-Length: 5"),
        ):
            response = await server.exchange(sent)
            assert response.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nconnection: close\r\n" in response
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        response = await server.exchange(request("POST", "/search", "Transfer-Encoding: chunked"), chunk)
        assert response.startswith(b"HTTP/1.1 429 ")
        server.state.default_headers.append((b"connection", b"close"))
        assert (await server.exchange(request())).startswith(b"HTTP/1.1 429 ")


async def test_request_that_waits_too_long_for_a_permit_is_answered_429(start_server):
    """The queue had room for it, and no permit was released."""
    server = await start_server(permits=1, wait_s=0.01)
    held = server.admission.enter(PermitKind.SEARCH, ANYBODY.tenant)
    async with held, server.connection(request()) as (reader, _):
        status, head, response = await read_response(reader)
        assert (status, b"\r\nretry-after: 1\r\n" in head, b"OverloadedError" in response) == (429, True, True)


async def test_stream_holds_its_permit_until_it_ends_or_its_client_disconnects(start_server):
    """Both are tried twice in a row, on one permit."""
    server = await start_server(permits=1)
    pool = server.admission.pool(PermitKind.SEARCH)
    for ended, _ in itertools.product((True, False), range(2)):
        async with server.connection(request("GET", "/stream")) as (reader, _):
            await reader.readuntil(b"begun")
            assert pool.in_flight == 1
            if ended:
                server.app.may_continue.set()
                await reader.readuntil(b"ended")
        server.app.may_continue.set()
        await asyncio.gather(*server.state.tasks)
        assert pool.in_flight == 0
        server.app.may_continue.clear()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/saa/echo", 200),
        ("/saa/echo?x=1", 200),
        ("/echo", 200),
        ("/saaecho", 404),
        ("/saa/saa/echo", 404),
        ("/saa", 404),
        ("/saa?x=1", 404),
    ],
)
async def test_prefix_of_a_proxy_is_cut_off_once(start_server, target, status):
    """Some proxies strip it themselves, so paths without it are served too."""
    server = await start_server(root_path="/saa")
    response = await server.exchange(request("POST", target, body=b"x", close=True))
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert [scope["path"] for scope in server.app.scopes] == (["/echo"] if status == 200 else [])
