"""An HTTP server for tests, which speaks this server's protocol to raw sockets."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from functools import partial

from tests.unit.server.piped import operation

from super_advanced_agents.errors import AuthenticationError
from super_advanced_agents.server.http.streaming.json_answers import PIECE_BYTES, PiecewiseResponse, made_pieces
from super_advanced_agents.server.limits.sending import SendingAnswers
from super_advanced_agents.tenancy.context import ANYBODY

LONG_S = 60.0
SERVED = (
    operation("GET", "/stream"),
    operation("GET", "/endless"),
    operation("POST", "/echo"),
    operation("POST", "/unread", public=True),
    operation("POST", "/wait", public=True),
)


class Application:
    """Read a whole body and answer with its length; some paths wait, or stream."""

    def __init__(self):
        self.received = []
        self.scopes = []
        self.may_continue = asyncio.Event()
        self.arrived = asyncio.Event()
        self.sending = SendingAnswers()
        self.left = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.arrived.set()
        self.scopes.append(scope)
        length = 0
        head = {"type": "http.response.start", "status": 200, "headers": []}
        if scope["path"] == "/endless":
            pieces = made_pieces(itertools.repeat(bytes(PIECE_BYTES)))
            await PiecewiseResponse(pieces, 200, partial(self.sending.hold, "acme"), 1)(scope, receive, send)
            self.left.set()
            return
        if scope["path"] == "/stream":
            await send(head)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await self.may_continue.wait()
            await send({"type": "http.response.body", "body": b"ended"})
            return
        while scope["path"] != "/unread":
            message = await receive()
            self.received.append(message["type"])
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if scope["path"] == "/wait":
            await self.may_continue.wait()
        await send(head)
        body = bytes(length) if scope["path"] == "/echo" else b"<%d>" % length
        await send({"type": "http.response.body", "body": body})


class KeyAuthenticator:
    """Authenticate every caller but those who send the key `wrong`."""

    async def authenticate(self, *, authorization, api_key):
        del authorization
        if api_key == "wrong":
            raise AuthenticationError("wrong key", hint="send another")
        return ANYBODY


class RawServer:
    """Serve an application with the HTTP protocol, on a port of its own."""

    def __init__(self, port, app, admission, state, caps):
        self.app = app
        self.admission = admission
        self.state = state
        self.caps = caps
        self.port = port

    @asynccontextmanager
    async def connection(self, *sent, client="127.0.0.1", tls=None):
        """Open a connection from an address, and send these bytes."""
        opened = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(client, 0), ssl=tls)
        async with self._closing(opened, sent) as streams:
            yield streams

    @asynccontextmanager
    async def adopted(self, connected, *sent):
        """Use a connected socket, and send these bytes."""
        async with self._closing(await asyncio.open_connection(sock=connected), sent) as streams:
            yield streams

    @asynccontextmanager
    async def _closing(self, streams, sent):
        reader, writer = streams
        try:
            writer.write(b"".join(sent))
            yield reader, writer
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def exchange(self, *sent):
        """Return all that the server sends until it closes the connection."""
        async with self.connection(*sent) as (reader, _):
            return await reader.read()


def request(method="POST", path="/search", *headers, body=b"", close=False):
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_response(reader):
    """Return the status, the head and the body of one response."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split()[1]), head, await reader.readexactly(length)
