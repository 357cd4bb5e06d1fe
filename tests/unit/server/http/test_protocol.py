"""Connections that dawdle, crowd or ask for more than there is room for, over raw sockets."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvicorn
from tests.unit.server.piped import Piped, operation
from uvicorn.server import ServerState

from super_advanced_agents.protocol.operations import OPERATIONS, PermitKind
from super_advanced_agents.server.http.protocol import http_protocol
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.tenancy.settings import Settings

LONG_S = 60.0
SERVED = (operation("GET", "/stream"), operation("POST", "/unread"), operation("POST", "/wait"))


class _Application:
    """Reads a whole body and answers with its length; what a request path names, it does first."""

    def __init__(self):
        self.heard = []
        self.go_on = asyncio.Event()
        self.arrived = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.arrived.set()
        length = 0
        head = {"type": "http.response.start", "status": 200, "headers": []}
        if scope["path"] == "/stream":
            await send(head)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await self.go_on.wait()
            await send({"type": "http.response.body", "body": b"ended"})
            return
        while scope["path"] != "/unread":
            message = await receive()
            self.heard.append(message["type"])
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if scope["path"] == "/wait":
            await self.go_on.wait()
        await send(head)
        await send({"type": "http.response.body", "body": b"<%d>" % length})


class _Server:
    """An application behind the protocol, on a port of its own."""

    def __init__(self, port, app, admission, state):
        self.app = app
        self.admission = admission
        self.state = state
        self._port = port

    @asynccontextmanager
    async def connection(self, *sent):
        """A connection that has sent this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"".join(sent))
            yield reader, writer
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def told(self, *sent):
        """All that comes back until the server closes."""
        async with self.connection(*sent) as (reader, _):
            return await reader.read()


@pytest.fixture
async def serving():
    """Make servers; settings as given, all of the rest so long that only what is tested ends a connection."""
    made = []

    async def serve(*, permits=10, wait_s=LONG_S, **settings):
        longest = {"header_timeout_s": LONG_S, "body_timeout_s": LONG_S, **settings}
        admission = Admission(permits=dict.fromkeys(PermitKind, permits), wait_s=wait_s)
        app = _Application()
        config = uvicorn.Config(
            Piped(app, *OPERATIONS, *SERVED, admission=admission),
            http=http_protocol(Settings.load(**longest), admission),
            lifespan="off",
            log_config=None,
            ws="none",
        )
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        made.append((server, state, app))
        return _Server(server.sockets[0].getsockname()[1], app, admission, state)

    yield serve
    for server, state, app in made:
        app.go_on.set()
        await asyncio.gather(*state.tasks)
        server.close()
        await server.wait_closed()


def _request(method="POST", path="/search", *headers, body=b"", close=False):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _answer(reader):
    """One response: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), head, await reader.readexactly(length)


async def test_a_connection_that_says_nothing_is_closed(serving):
    """Without a word: there was no request to answer."""
    server = await serving(header_timeout_s=0.05)
    assert await server.told() == b""


async def test_headers_that_do_not_come_to_an_end_are_answered_408(serving):
    """However steadily they drip."""
    server = await serving(header_timeout_s=0.2)
    async with server.connection(b"POST /search HTTP/1.1\r\nHost: localhost\r\nX: ") as (reader, writer):
        said = asyncio.create_task(reader.read())
        while not said.done():
            writer.write(b"x")
            await asyncio.wait({said}, timeout=0.02)
        assert said.result().startswith(b"HTTP/1.1 408 ")
        assert b"headers did not arrive within 0.2 s" in said.result()
    assert not server.app.arrived.is_set()


async def test_so_are_those_of_a_later_request(serving):
    """A connection that was good once has no credit."""
    server = await serving(header_timeout_s=0.1)
    told = await server.told(_request(body=b"123"), b"POST /search HTTP/1.1\r\nHo")
    assert told.count(b"HTTP/1.1 ") == 2
    assert b"<3>" in told
    assert b"HTTP/1.1 408 " in told


@pytest.mark.parametrize("declared", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_answered_408(serving, declared):
    """Whoever waited for it learns that it will not come."""
    server = await serving(body_timeout_s=0.1)
    told = await server.told(_request("POST", "/search", declared), b"5\r\n12345\r\n")
    assert told.startswith(b"HTTP/1.1 408 ")
    assert told.count(b"HTTP/1.1 ") == 1
    assert b"body did not arrive within 0.1 s" in told
    assert server.app.heard[-1] == "http.disconnect"


async def test_a_body_that_nobody_wants_any_more_does_not_hold_its_connection(serving):
    """The answer was sent before it was read."""
    server = await serving(body_timeout_s=0.1)
    told = await server.told(_request("POST", "/unread", "Content-Length: 100"), b"123")
    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"408" not in told


async def test_a_request_begun_behind_a_stream_does_not_end_the_stream(serving):
    """Its time begins when the stream has ended."""
    server = await serving(header_timeout_s=0.05)
    async with server.connection(_request("GET", "/stream"), b"GET /he") as (reader, _):
        await reader.readuntil(b"begun\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        server.app.go_on.set()
        rest = await reader.read()
        assert b"ended" in rest
        assert b"HTTP/1.1 408 " in rest


async def test_slow_neighbours_do_not_hold_up_a_request(serving):
    """Two hundred connections that send a byte each."""
    server = await serving()
    async with AsyncExitStack() as slow:
        for _ in range(200):
            await slow.enter_async_context(server.connection(b"P"))
        assert b"<1>" in await server.told(_request(body=b"1", close=True))


async def test_connections_are_counted(serving):
    """One too many is told so, and closed."""
    server = await serving(max_connections=1)
    async with server.connection(_request(body=b"1")) as (reader, _):
        await reader.readuntil(b"<1>")
        told = await server.told()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in told


@asynccontextmanager
async def _taken(server):
    """All permits of searches, and all that may wait for one, until the end of the block."""
    line = server.admission.queue(PermitKind.SEARCH)
    for _ in range(line.permits):
        assert await line.enter()
    waiting = [asyncio.create_task(line.enter()) for _ in range(line.max_waiting)]
    await asyncio.sleep(0)
    assert line.full
    try:
        yield
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        for _ in range(line.permits):
            line.leave()


async def test_a_refusal_reaches_no_application_and_keeps_the_connection(serving):
    """Its body is skipped, in however many parts; the next request is answered when there is room."""
    server = await serving(permits=1)
    async with server.connection() as (reader, writer):
        async with _taken(server):
            for body in (b"", b"x" * 10, b"y" * 100_000):
                writer.write(_request(body=body))
                status, head, told = await _answer(reader)
                assert status == 429
                assert b"\r\nretry-after: 1\r\n" in head
                assert b"\r\nconnection" not in head
                assert b'"error":"OverloadedError"' in told
            writer.write(_request() + _request("GET", "/v1/agents/a/memories"))
            assert [(await _answer(reader))[0] for _ in range(2)] == [429, 429]
        assert not server.app.arrived.is_set()
        writer.write(_request(body=b"123", close=True))
        assert b"<3>" in await reader.read()


async def test_other_kinds_and_the_health_of_the_process_are_not_refused(serving):
    """Searches alone are too many."""
    server = await serving(permits=1)
    async with _taken(server):
        assert b"<1>" in await server.told(_request("POST", "/v1/agents/a/memories", body=b"1", close=True))
        assert b"HTTP/1.1 200 " in await server.told(_request("GET", "/healthz", close=True))


async def test_a_refusal_closes_where_the_connection_cannot_go_on(serving):
    """The client asked for that, waits to be asked for its body, or sends too much of it; or the server stops."""
    server = await serving(permits=1, max_body_bytes=1024)
    async with _taken(server):
        for request in (
            _request(close=True),
            _request("POST", "/search", "Expect: 100-continue", "Content-Length: 5"),
        ):
            told = await server.told(request)
            assert told.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nconnection: close\r\n" in told
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        told = await server.told(_request("POST", "/search", "Transfer-Encoding: chunked"), chunk)
        assert told.startswith(b"HTTP/1.1 429 ")
        server.state.default_headers.append((b"connection", b"close"))
        assert (await server.told(_request())).startswith(b"HTTP/1.1 429 ")


async def test_who_waited_in_vain_is_refused_alike(serving):
    """There was a place in the line, and none after it."""
    server = await serving(permits=1, wait_s=0.01)
    line = server.admission.queue(PermitKind.SEARCH)
    assert await line.enter()
    async with server.connection(_request()) as (reader, _):
        status, head, told = await _answer(reader)
        assert (status, b"\r\nretry-after: 1\r\n" in head, b"OverloadedError" in told) == (429, True, True)
    line.leave()


async def test_a_stream_holds_its_place_until_it_ends_or_its_client_goes(serving):
    """Also when the client goes first."""
    server = await serving(permits=1)
    line = server.admission.queue(PermitKind.SEARCH)
    for ended, _ in itertools.product((True, False), range(2)):
        async with server.connection(_request("GET", "/stream")) as (reader, _):
            await reader.readuntil(b"begun")
            assert line.in_flight == 1
            if ended:
                server.app.go_on.set()
                await reader.readuntil(b"ended")
        server.app.go_on.set()
        await asyncio.gather(*server.state.tasks)
        assert line.in_flight == 0
        server.app.go_on.clear()
