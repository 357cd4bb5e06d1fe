"""The MCP server over standard input and output, for clients that start it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio
import mcp_types as types
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage

from super_advanced_agents.server.mcp.server import memory_server
from super_advanced_agents.server.mcp.tool import AgentMemory, ToolSession
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext


async def aserve_stdio(agent: AgentMemory) -> None:
    """Serve an agent's memory as MCP tools over stdio until standard input ends.

    Requests that came before its end are answered. Only protocol messages are written to standard output.

    Args:
        agent: the agent whose memory the tools use; the client has every scope, since it started this process.
    """
    session = ToolSession(agent=agent, context=RequestContext(principal=ANYBODY))
    server = memory_server(lambda _: session)
    try:
        async with stdio_server() as (incoming, outgoing):
            unanswered = _Unanswered()
            await server.run(
                _Incoming(incoming, unanswered),
                _Outgoing(outgoing, unanswered),
                server.create_initialization_options(),
            )
    except* BrokenPipeError:
        pass  # the client closed the pipe


class _Unanswered:
    # The ids of the requests that still have no response.

    def __init__(self) -> None:
        self._ids: set[object] = set()
        self._changed = anyio.Event()

    def note_incoming(self, item: SessionMessage | Exception) -> None:
        message = None if isinstance(item, Exception) else item.message
        if isinstance(message, types.JSONRPCRequest):
            self._ids.add(message.id)
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._discard((message.params or {}).get("requestId"))  # it gets no response

    def note_outgoing(self, item: SessionMessage) -> None:
        if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
            self._discard(item.message.id)

    async def none_left(self) -> None:
        while self._ids:
            await self._changed.wait()

    def _discard(self, id_: object) -> None:
        if isinstance(id_, int | str):
            self._ids.discard(id_)
        self._changed.set()
        self._changed = anyio.Event()


class _Incoming:
    # Ends when its stream has ended and all requests are answered: the server drops those that run at the end.

    def __init__(self, stream: ReadStream[SessionMessage | Exception], unanswered: _Unanswered) -> None:
        self._stream = stream
        self._unanswered = unanswered

    @property
    def last_context(self) -> object:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        try:
            item = await self._stream.receive()
        except anyio.EndOfStream:
            await self._unanswered.none_left()
            raise
        self._unanswered.note_incoming(item)
        return item

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Outgoing:
    def __init__(self, stream: WriteStream[SessionMessage], unanswered: _Unanswered) -> None:
        self._stream = stream
        self._unanswered = unanswered

    async def send(self, item: SessionMessage, /) -> None:
        await self._stream.send(item)
        self._unanswered.note_outgoing(item)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
