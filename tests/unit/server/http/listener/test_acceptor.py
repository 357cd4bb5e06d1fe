"""Test which REST connections are kept when there are too many, over raw sockets."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import sys
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress

import pytest
from tests.certificate import write_self_signed_certificate
from tests.unit.server.http.raw_server import request

from super_advanced_agents.server.connections import ConnectionCaps
from super_advanced_agents.server.http.listener.acceptor import Acceptor
from super_advanced_agents.server.http.listener.parsing import StrictHttpProtocol

REFUSED = b"HTTP/1.1 503 "


@pytest.fixture
def tls(tmp_path):
    """Return the contexts of a server and of its clients."""
    certificate = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_self_signed_certificate(*certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=certificate[0])


async def _open(stack, server, count, **options):
    """Open connections that the server has counted."""
    before = len(server.caps)
    opened = [await stack.enter_async_context(server.connection(**options)) for _ in range(count)]
    await _until(lambda: len(server.caps) == before + count)
    return opened


async def _until(condition):
    """Wait until something has come about in the server, which shares this event loop."""
    while not condition():  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0.001)


async def test_oldest_silent_connection_goes_for_a_new_one(start_server):
    """So silent connections keep nobody out."""
    server = await start_server(max_connections=3, max_connections_per_address=3)
    async with AsyncExitStack() as stack:
        (first, _), *_ = await _open(stack, server, 3)
        assert b"<1>" in await server.exchange(request(body=b"1", close=True))
        assert await first.read() == b""


async def test_connections_accepted_in_one_turn_go_for_the_next(start_server):
    """They are closed before the event loop has begun to open them."""
    server = await start_server(max_connections=1)
    with ExitStack() as stack:
        first, second, _ = (stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(3))
        for each in (first, second):
            each.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(each, 1) == b""


async def test_answered_connections_stay_and_a_new_one_is_refused(start_server):
    """The refusal says when to retry."""
    server = await start_server(max_connections=2, max_connections_per_address=2)
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(server.connection(request("POST", "/wait"))) for _ in range(2)]
        await _until(lambda: len(server.state.tasks) == 2)
        refused = await server.exchange()
        assert refused.startswith(REFUSED)
        assert b"\r\nretry-after: 1\r\n" in refused
        server.app.may_continue.set()
        for reader, _ in waiting:
            await reader.readuntil(b"<0>")


async def test_strangers_go_before_idle_callers_with_a_credential(start_server):
    """A caller's idle connection outlives younger ones of strangers, refused ones included."""
    server = await start_server(max_connections=4, max_connections_per_address=4)
    async with AsyncExitStack() as stack:
        caller, writer = await stack.enter_async_context(server.connection(request(body=b"1")))
        await caller.readuntil(b"<1>")
        stranger, _ = await stack.enter_async_context(server.connection(request("POST", "/search", "X-API-Key: wrong")))
        assert (await stranger.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        for _ in range(5):
            await stack.enter_async_context(server.connection())
        await stranger.read()  # it is closed, though it is younger than the caller
        writer.write(request(body=b"22"))
        await caller.readuntil(b"<2>")


async def test_address_with_too_many_strangers_closes_its_own(start_server):
    """The connections of another address stay."""
    server = await start_server(max_connections_per_address=2)
    async with AsyncExitStack() as stack:
        [(other, _)] = await _open(stack, server, 1, client="127.0.0.2")
        (first, _), (second, _) = await _open(stack, server, 2)
        await stack.enter_async_context(server.connection())
        assert await first.read() == b""
        await stack.enter_async_context(server.connection())
        assert await second.read() == b""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.read(1), 0.05)


async def test_callers_with_a_credential_do_not_count_for_their_address(start_server):
    """A reverse proxy has one address for all of them."""
    server = await start_server(max_connections_per_address=2)
    async with AsyncExitStack() as stack:
        callers = []
        for _ in range(6):
            callers.append(await stack.enter_async_context(server.connection()))
            for reader, writer in callers:
                writer.write(request(body=b"1"))
                await reader.readuntil(b"<1>")


async def test_silent_tls_connections_are_counted_before_their_handshake(start_server, tls):
    """They are closed for a client that speaks, and when the time for the handshake has passed."""
    server = await start_server(tls=tls[0], max_connections=3, max_connections_per_address=3, header_timeout_s=0.3)
    async with AsyncExitStack() as stack:
        silent = await _open(stack, server, 3)
        async with server.connection(request(body=b"1", close=True), tls=tls[1]) as (reader, _):
            assert b"<1>" in await reader.read()
        for reader, _ in silent:
            assert await reader.read() == b""
    await _until(lambda: not len(server.caps))


async def test_used_up_descriptors_close_an_idle_connection_and_the_rest_waits(start_server, caplog):
    """The listener is left alone for a moment, so the loop does not spin, and a log line says what is missing."""
    server = await start_server()
    client = socket.socket()
    client.setblocking(False)
    async with AsyncExitStack() as stack:
        [(silent, _)] = await _open(stack, server, 1)
        with _no_descriptors():
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
            assert await silent.read() == b""
        reader, _ = await stack.enter_async_context(server.adopted(client, request(body=b"1", close=True)))
        assert b"<1>" in await reader.read()
    assert "server.descriptors_used_up" in caplog.text


class _Listener(socket.socket):
    """A listening socket; when it is being drained and nothing is left, a client begins to connect."""

    def __init__(self):
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.setblocking(False)
        self.late_client = None

    def accept(self):
        """Accept a connection, or let the late client begin."""
        try:
            return super().accept()
        except BlockingIOError:
            client, self.late_client = self.late_client, None
            if client is not None:
                client.connect_ex(self.getsockname())
            raise


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot drop the packets")
async def test_client_that_connects_while_the_listener_closes_is_refused():
    """The kernel does not complete a connection that nobody would accept, and that it would then reset."""
    caps = ConnectionCaps(max_connections=1, max_unauthenticated=1)
    acceptor = Acceptor(StrictHttpProtocol, caps, context=None, handshake_s=1)
    with _Listener() as listener, socket.socket() as client:
        client.setblocking(False)
        address = listener.getsockname()
        listener.late_client = client
        await acceptor.stop([listener], 0)
        assert listener.late_client is None
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(client, address)


@contextmanager
def _no_descriptors():
    """Use up all descriptors of the process during the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 64, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
