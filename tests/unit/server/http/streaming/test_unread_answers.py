"""Test that a client which does not read its answer is dropped, and that one which reads slowly is not."""

from __future__ import annotations

import asyncio
import select
import socket

import pytest
from tests.unit.server.http.raw_server import request

from super_advanced_agents.server.http.streaming.json_answers import PIECE_BYTES

TIMEOUT_S = 0.2
LONG_ENOUGH_S = 20.0


def _unread(port):
    """Return a connected socket that receives next to nothing until it is read."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connected.connect(("127.0.0.1", port))
    return connected


def _wait_until_reset(connected):
    poll = select.poll()
    poll.register(connected, 0)  # errors and hang-ups are reported all the same
    return poll.poll(30_000)


async def test_client_that_does_not_read_is_dropped_and_its_answer_freed(start_server):
    """The connection is reset, the application ends, and nothing of the answer counts as being sent."""
    server = await start_server(write_timeout_s=TIMEOUT_S)
    with _unread(server.port) as connected:
        connected.sendall(request("GET", "/endless"))
        async with asyncio.timeout(30):
            await server.app.left.wait()
        assert await asyncio.to_thread(_wait_until_reset, connected)
    assert server.app.sending.held_bytes == 0
    assert not server.state.connections


async def test_client_that_reads_slowly_is_served_on(start_server):
    """Each piece that it reads in time gives it time for the next one."""
    server = await start_server(write_timeout_s=LONG_ENOUGH_S)
    async with server.connection(request("GET", "/endless")) as (reader, _):
        for _ in range(50):
            await asyncio.sleep(0)
            await reader.readexactly(PIECE_BYTES)
        assert server.app.sending.held_bytes == 1
    async with asyncio.timeout(30):
        await server.app.left.wait()
    assert server.app.sending.held_bytes == 0


@pytest.mark.parametrize("headers", [[], ["Connection: close"]])
async def test_unread_end_of_an_answer_is_not_kept_for_ever(start_server, headers):
    """The application has ended, and the connection waits for its last bytes to be read no longer than the timeout."""
    server = await start_server(write_timeout_s=TIMEOUT_S)
    with _unread(server.port) as connected:
        answer = request("POST", "/echo", *headers, body=bytes(7_000_000))  # more than the system takes
        await asyncio.to_thread(connected.sendall, answer)
        assert await asyncio.to_thread(_wait_until_reset, connected)
    assert not server.state.connections
