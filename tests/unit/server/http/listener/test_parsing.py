"""Test how requests are told apart that proxies and servers may read differently, over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from tests.unit.server.http.raw_server import request

CHUNKED = "Transfer-Encoding: chunked"


def _statuses(received):
    """Return the status codes of the responses in what a server sent."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


async def _read_until(reader, end):
    """Return what arrives up to `end`."""
    return await asyncio.wait_for(reader.readuntil(end), 30)


async def test_trailers_are_not_headers(start_server):
    """The application sees the headers of the head only, however the trailers arrive."""
    server = await start_server()
    for sent in ([b"1\r\nx\r\n0\r\n", b"Authorization: Bearer x\r\n\r\n"], [b"1\r\nx\r\n0\r\nX-API-Key: x\r\n\r\n"]):
        async with server.connection(request("POST", "/wait", CHUNKED)) as (reader, writer):
            for part in sent:
                writer.write(part)
                await writer.drain()
                await server.app.arrived.wait()
            server.app.may_continue.set()
            assert (await reader.readuntil(b"<1>")).startswith(b"HTTP/1.1 200 ")
        names = [name for name, _ in server.app.scopes[-1]["headers"]]
        assert names == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    "framing", [b"1\r\nx\r\n0\r\nX: " + b"x" * 200_000, b"1\r\nx\r\n1;" + b"x" * 200_000], ids=["trailer", "extension"]
)
async def test_endless_framing_behind_a_body_closes_the_connection(start_server, framing):
    """Trailers and chunk extensions count as headers do: 64 KiB."""
    server = await start_server()
    async with server.connection(request("POST", "/search", CHUNKED)) as (reader, writer):
        writer.write(framing)
        assert b"HTTP/1.1 431 " in await reader.read()


@pytest.mark.parametrize(("version", "status"), [(" HTTP/2.0", 505), (" HTTP/0.9", 400), ("", 400)])
async def test_other_versions_are_refused(start_server, version, status):
    """What follows on the connection is not parsed, so a second request is not answered."""
    server = await start_server()
    received = await server.exchange(f"GET /healthz{version}\r\nHost: localhost\r\n\r\n".encode(), request())
    assert _statuses(received) == [status]
    assert not server.app.arrived.is_set()


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        ("http://localhost/search", [b"localhost"]),
        ("http://LOCALHOST:80/search", [b"localhost", b"LOCALHOST:80"]),
        ("http://evil.example/search", [b"localhost", b"evil.example"]),
        ("http://localhost:81/search", [b"localhost", b"localhost:81"]),
        ("http://x@localhost/search", [b"localhost", b""]),
    ],
)
async def test_host_of_an_absolute_target_is_checked_as_a_second_host(start_server, target, hosts):
    """A target that names another host than `Host` does leaves two hosts, which `AllowedHosts` refuses."""
    server = await start_server()
    await server.exchange(request("POST", target, close=True))
    assert [value for name, value in server.app.scopes[-1]["headers"] if name == b"host"] == hosts


async def test_body_behind_an_ignored_upgrade_is_not_read_as_a_request(start_server):
    """The connection is closed after the response."""
    server = await start_server()
    upgrade = request("GET", "/stream", "Connection: Upgrade", "Upgrade: h2c")
    async with server.connection(upgrade) as (reader, writer):
        await reader.readuntil(b"begun")
        writer.write(request("POST", "/unread"))
        await writer.drain()
        server.app.may_continue.set()
        assert b"ended" in await reader.readuntil(b"ended")
        with contextlib.suppress(ConnectionResetError):  # the server need not have read what it drops
            assert _statuses(await reader.read()) == []
    assert len(server.app.scopes) == 1


async def test_a_thousand_pipelined_requests_are_answered_in_order(start_server):
    """All arrive at once, and only one waits as a parsed request behind the one that is answered."""
    server = await start_server()
    bodies = [b"x" * (number % 7) for number in range(1_000)]
    async with server.connection() as (reader, writer):
        writer.write(b"".join(request(body=body) for body in bodies))
        for body in bodies:
            await _read_until(reader, b"<%d>" % len(body))


async def test_few_pipelined_requests_are_parsed_ahead(start_server):
    """A client that sends 3,000 requests behind a slow one makes the server hold bytes, not requests."""
    server = await start_server()
    async with server.connection(request("GET", "/stream")) as (reader, writer):
        await reader.readuntil(b"begun")
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n" * 3_000)
        await asyncio.sleep(0.1)
        (connection,) = server.state.connections
        assert len(connection.pipeline) <= 1
        server.app.may_continue.set()
        for _ in range(3_000):
            await reader.readuntil(b"<0>")


async def test_head_behind_a_long_body_is_counted_alone(start_server):
    """A body of 100 KB does not count as headers of the next request, which begins in the same segment."""
    server = await start_server()
    follower = request(body=b"123", close=True)
    async with server.connection(request(body=b"x" * 100_000), follower[:20]) as (reader, writer):
        await reader.readuntil(b"<100000>")
        writer.write(follower[20:])
        assert b"<3>" in await reader.read()


async def test_long_head_behind_a_body_is_answered_431_in_order(start_server):
    """The request before it is answered first."""
    server = await start_server()
    async with server.connection(request("GET", "/stream")) as (reader, writer):
        await reader.readuntil(b"begun")
        writer.write(request("POST", "/search", "X: " + "x" * 100_000))
        await asyncio.sleep(0.05)
        server.app.may_continue.set()
        rest = await reader.read()
    assert rest.index(b"ended") < rest.index(b"HTTP/1.1 431 ")
    assert len(server.app.scopes) == 1


async def test_bytes_that_are_no_request_are_answered_400_in_order(start_server):
    """The request before them is answered first, and nothing behind them is answered."""
    server = await start_server()
    async with server.connection(request("GET", "/stream"), b"\x16\x03\x01 no request\r\n\r\n") as (reader, writer):
        await reader.readuntil(b"begun")
        writer.write(request())
        server.app.may_continue.set()
        rest = await reader.read()
    assert rest.index(b"ended") < rest.index(b"HTTP/1.1 400 ")
    assert _statuses(rest) == [400]
    assert b"application/problem+json" in rest


async def test_chunks_of_one_byte_leave_the_loop_free(start_server):
    """Between two turns of parsing another connection is answered."""
    server = await start_server(permits=10)
    async with server.connection(request("POST", "/search", CHUNKED)) as (reader, writer):
        writer.write(b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n")
        response = asyncio.create_task(reader.readuntil(b"<1000000>"))
        answered = 0
        while not response.done():
            assert b"<1>" in await server.exchange(request(body=b"1", close=True))
            answered += 1
    assert answered >= 5


async def test_large_body_arrives_whole(start_server):
    """Bodies with a length are parsed in one piece, and bodies in chunks in several."""
    server = await start_server()
    body = b"\r\n\r\n" * 500_000
    async with server.connection(request(body=body), request("POST", "/search", CHUNKED)) as (reader, writer):
        assert (await _read_until(reader, b"<2000000>")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\n\r\n" + request("GET", "/healthz"))
        await _read_until(reader, b"<2000000>")
        await _read_until(reader, b"<0>")
