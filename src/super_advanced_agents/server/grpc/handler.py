"""The gRPC method handlers, which check each call and report errors as gRPC statuses.

Messages are parsed after the checks, so nothing is parsed for a caller without a credential. Every exception ends the
call with a status and the problem document in the trailing metadata. Cancelling a call, by its caller or by its
deadline, cancels the coroutine of its handler and everything that it awaits, such as a slot in a batch or the language
model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeAlias, cast

import grpc
import orjson
from google.protobuf.message import Message

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.error_mapping import error_of_problem
from super_advanced_agents.protocol.json_parser import INLINE_BYTES
from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.protocol.problems import CODES, grpc_code_of, problem_of, status_of
from super_advanced_agents.server.grpc.conversions import parse, parse_in_slices
from super_advanced_agents.server.grpc.rpc import Rpc, StreamingHandler, UnaryHandler
from super_advanced_agents.server.idempotency.results import Reply
from super_advanced_agents.server.limits.cost import answer_units
from super_advanced_agents.server.limits.rate_limit import quota_metadata
from super_advanced_agents.server.pipeline import (
    READ_FIELDS,
    IncomingRequest,
    Pipeline,
    _RefusedError,
    problem_and_headers,
)
from super_advanced_agents.server.route_table import rpc_operation
from super_advanced_agents.server.services import Services
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.workspace import Workspace

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_log = get_logger("server")
_STATUS_CHARS = 200
_REPLAYED = (("idempotency-replayed", "true"),)


class MethodHandler:
    """Serve the calls of one gRPC method: check each call, run its handler, and report errors.

    Args:
        rpc: the method and its handler.
        services: the objects that every request uses.
        pipeline: the checks before the handler.

    Attributes:
        path: the method's full name, `/package.Service/Method`.
        method: the method and its message types.
    """

    def __init__(self, rpc: Rpc, services: Services, pipeline: Pipeline) -> None:
        self.method = rpc.method
        self.path = rpc.method.path
        self._operation = rpc_operation(self.path)
        self._services = services
        self._pipeline = pipeline
        self._rpc = rpc

    def method_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return this method's `grpc.RpcMethodHandler`, to register with the gRPC server.

        It takes requests as bytes, so that a malformed message fails with this server's status, not gRPC's.
        """
        if not self.method.gives_stream:
            return grpc.unary_unary_rpc_method_handler(self._unary)
        if self.method.takes_stream:
            return grpc.stream_stream_rpc_method_handler(self._many_to_many)
        return grpc.unary_stream_rpc_method_handler(self._one_to_many)

    async def _unary(self, frame: bytes, context: Context) -> bytes:
        async with self._admit(context) as incoming:
            if incoming.key is None:
                return await self._answer(frame, incoming)
            return await self._answer_once(frame, incoming, incoming.key)
        raise AssertionError("a refused call was aborted")

    async def _answer(self, frame: bytes, incoming: IncomingRequest) -> bytes:
        handler = cast("UnaryHandler", self._rpc.handler)
        reply = _serialized(await handler(await self._parse(frame, incoming), self._workspace(incoming)))
        await self._settle(reply, incoming)
        return reply

    async def _settle(self, reply: bytes, incoming: IncomingRequest) -> None:
        if incoming.context is not None:
            await incoming.context.settle(answer_units(len(reply)))

    async def _answer_once(self, frame: bytes, incoming: IncomingRequest, key: str) -> bytes:
        async def make() -> Reply:
            try:
                return Reply(status=HTTPStatus.OK, body=await self._answer(frame, incoming))
            except SuperAdvancedAgentsError as exc:
                return Reply(status=status_of(exc), body=orjson.dumps(problem_of(exc)))

        reply = await self._pipeline.reply_once(key, (self.path.encode(), frame), make)
        incoming.replayed = reply.replayed
        if reply.status != HTTPStatus.OK:
            raise error_of_problem(orjson.loads(reply.body), status=reply.status)
        return reply.body

    async def _one_to_many(self, frame: bytes, context: Context) -> None:
        async with self._admit(context) as incoming:
            await self._send_all(await self._parse(frame, incoming), incoming, context)

    async def _many_to_many(self, frames: AsyncIterator[bytes], context: Context) -> None:
        async with self._admit(context) as incoming, aclosing(self._requests(frames, incoming)) as requests:
            await self._send_all(requests, incoming, context)

    async def _send_all(self, request: Any, incoming: IncomingRequest, context: Context) -> None:
        handler = cast("StreamingHandler", self._rpc.handler)
        async with aclosing(handler(request, self._workspace(incoming))) as replies:
            while True:
                async with asyncio.timeout(incoming.timeout_s):
                    reply = await anext(replies, None)
                    if reply is None:
                        return
                    encoded = _serialized(reply)
                    await self._settle(encoded, incoming)
                    await context.write(encoded)

    async def _requests(self, frames: AsyncIterator[bytes], incoming: IncomingRequest) -> AsyncGenerator[Message, None]:
        async for frame in frames:
            yield await self._parse(frame, incoming)

    async def _parse(self, frame: bytes, incoming: IncomingRequest) -> Message:
        kind: type[Message] = self.method.request
        if len(frame) <= INLINE_BYTES or incoming.context is None:
            return parse(frame, kind)
        owner = incoming.context.principal.tenant
        return await self._services.conversions.submit(parse_in_slices(frame, kind), owner=owner)

    def _workspace(self, incoming: IncomingRequest) -> Workspace:
        context = incoming.context  # None for public methods, whose handlers ignore the workspace
        return cast("Workspace", None) if context is None else self._services.workspaces.of(context.principal.tenant)

    @asynccontextmanager
    async def _admit(self, context: Context) -> AsyncIterator[IncomingRequest]:
        incoming = IncomingRequest(
            operation=self._operation,
            fields=[
                (name, value if isinstance(value, str) else value.decode("latin-1"))
                for name, value in context.invocation_metadata() or ()
                if name in READ_FIELDS
            ],
            streams=self.method.gives_stream,
        )
        try:
            async with self._pipeline.admit(incoming):
                yield incoming
        except Exception as exc:
            await self._abort(exc, incoming, context)
        else:
            if trailing := _trailing(incoming):
                context.set_trailing_metadata(trailing)

    async def _abort(self, error: Exception, incoming: IncomingRequest, context: Context) -> None:
        if isinstance(error, TimeoutError):
            error = _RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "the work took longer than its deadline")
        elif not isinstance(error, (SuperAdvancedAgentsError, _RefusedError)):
            # An error of this server: the log has the traceback, and the caller learns only that it failed.
            _log.error("server.call_crashed", extra={"path": self.path}, exc_info=error)
            error = _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        problem, headers = problem_and_headers(error)
        status = cast("HTTPStatus", problem["status"])
        code = CODES.get(status, "INTERNAL") if isinstance(error, _RefusedError) else grpc_code_of(error)
        if code in {"INTERNAL", "UNKNOWN"}:
            _log.warning("server.call_failed", extra={"path": self.path, "reason": problem["detail"]})
        trailing: _Metadata = (
            (ERROR_METADATA, orjson.dumps(problem)),
            *((name.lower(), value) for name, value in headers.items()),
            *_trailing(incoming),
        )
        await context.abort(grpc.StatusCode[code], str(problem["detail"])[:_STATUS_CHARS], trailing)


def _serialized(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _trailing(incoming: IncomingRequest) -> _Metadata:
    quota = incoming.quota
    return (*(quota_metadata(quota) if quota is not None else ()), *(_REPLAYED if incoming.replayed else ()))
