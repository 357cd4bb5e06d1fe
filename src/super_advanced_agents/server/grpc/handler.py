"""What every gRPC call passes on its way to what answers it: the steps of the pipeline, told in statuses of gRPC.

Only then what was sent is read, so nothing is parsed for a caller without a credential. Whatever is raised leaves as a
status with the problem document beside it. Cancelling a call, by its caller or by its deadline, cancels the coroutine
that answers it, and with it whatever that waits for: room in a batch, or the language model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeAlias, cast

import grpc
import orjson
from google.protobuf.message import DecodeError, Message

from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.error_mapping import error_of
from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.protocol.problems import CODES, code_of, problem_of, status_of
from super_advanced_agents.server.grpc.rpc import Rpc, Streaming, Unary
from super_advanced_agents.server.idempotency.results import Reply
from super_advanced_agents.server.limits.rate_limit import quota_metadata
from super_advanced_agents.server.pipeline import READ_FIELDS, Incoming, Pipeline, _RefusedError, problem_and_headers
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
    """Answers the calls of one method.

    Args:
        rpc: what answers, and what it is called by.
        gate: what the callers' tenants have.
        pipeline: what lets a call in.

    Attributes:
        path: the method's full name.
        method: its messages.
    """

    def __init__(self, rpc: Rpc, services: Services, pipeline: Pipeline) -> None:
        self.method = rpc.method
        self.path = rpc.method.path
        self._operation = rpc_operation(self.path)
        self._services = services
        self._pipeline = pipeline
        self._rpc = rpc

    def registered(self) -> grpc.RpcMethodHandler[Any, Any]:
        """What the server registers. Requests reach it as bytes, so that a malformed frame has a status of ours."""
        if not self.method.gives_stream:
            return grpc.unary_unary_rpc_method_handler(self._unary)
        if self.method.takes_stream:
            return grpc.stream_stream_rpc_method_handler(self._many_to_many)
        return grpc.unary_stream_rpc_method_handler(self._one_to_many)

    async def _unary(self, frame: bytes, context: Context) -> bytes:
        async with self._entered(context) as incoming:
            if incoming.key is None:
                return await self._answer(frame, incoming)
            return await self._once(frame, incoming, incoming.key)
        raise AssertionError("a refused call was aborted")

    async def _answer(self, frame: bytes, incoming: Incoming) -> bytes:
        answer = cast("Unary", self._rpc.answer)
        return (await answer(self._parsed(frame), self._workspace(incoming))).SerializeToString()

    async def _once(self, frame: bytes, incoming: Incoming, key: str) -> bytes:
        """A write with a key: answered as it was before, or now."""

        async def make() -> Reply:
            try:
                return Reply(status=HTTPStatus.OK, body=await self._answer(frame, incoming))
            except SuperAdvancedAgentsError as exc:
                return Reply(status=status_of(exc), body=orjson.dumps(problem_of(exc)))

        reply = await self._pipeline.reply_once(key, (self.path.encode(), frame), make)
        incoming.replayed = reply.replayed
        if reply.status != HTTPStatus.OK:
            raise error_of(orjson.loads(reply.body), status=reply.status)
        return reply.body

    async def _one_to_many(self, frame: bytes, context: Context) -> None:
        async with self._entered(context) as incoming:
            await self._send_all(self._parsed(frame), incoming, context)

    async def _many_to_many(self, frames: AsyncIterator[bytes], context: Context) -> None:
        async with self._entered(context) as incoming, aclosing(self._requests(frames)) as requests:
            await self._send_all(requests, incoming, context)

    async def _send_all(self, request: Any, incoming: Incoming, context: Context) -> None:
        answer = cast("Streaming", self._rpc.answer)
        async with aclosing(answer(request, self._workspace(incoming))) as replies:
            while True:
                async with asyncio.timeout(incoming.seconds):
                    reply = await anext(replies, None)
                    if reply is None:
                        return
                    await context.write(reply.SerializeToString())

    async def _requests(self, frames: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
        async for frame in frames:
            yield self._parsed(frame)

    def _parsed(self, frame: bytes) -> Message:
        message: Message = self.method.request()
        try:
            message.ParseFromString(frame)
        except (DecodeError, RecursionError) as exc:
            raise InvalidInputError(f"the message is no {message.DESCRIPTOR.name}", field="message") from exc
        return message

    def _workspace(self, incoming: Incoming) -> Workspace:
        """The caller's tenant's; what answers a public method does not look at it."""
        context = incoming.context
        return cast("Workspace", None) if context is None else self._services.workspaces.of(context.principal.tenant)

    @asynccontextmanager
    async def _entered(self, context: Context) -> AsyncIterator[Incoming]:
        """Let a call in, and end it with the status of what is raised, unless its caller has gone away."""
        incoming = Incoming(
            operation=self._operation,
            fields=[
                (name, value if isinstance(value, str) else value.decode("latin-1"))
                for name, value in context.invocation_metadata() or ()
                if name in READ_FIELDS
            ],
            streams=self.method.gives_stream,
        )
        try:
            async with self._pipeline.entered(incoming):
                yield incoming
        except Exception as exc:
            await self._abort(exc, incoming, context)
        else:
            if trailing := _trailing(incoming):
                context.set_trailing_metadata(trailing)

    async def _abort(self, error: Exception, incoming: Incoming, context: Context) -> None:
        if isinstance(error, TimeoutError):
            error = _RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "the work took longer than it may")
        elif not isinstance(error, (SuperAdvancedAgentsError, _RefusedError)):
            # A fault of ours: the server logs it whole, the caller learns only that.
            _log.error("server.call_crashed", extra={"path": self.path}, exc_info=error)
            error = _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        problem, headers = problem_and_headers(error)
        status = cast("HTTPStatus", problem["status"])
        code = CODES.get(status, "INTERNAL") if isinstance(error, _RefusedError) else code_of(error)
        if code in {"INTERNAL", "UNKNOWN"}:
            _log.warning("server.call_failed", extra={"path": self.path, "reason": problem["detail"]})
        trailing: _Metadata = (
            (ERROR_METADATA, orjson.dumps(problem)),
            *((name.lower(), value) for name, value in headers.items()),
            *_trailing(incoming),
        )
        await context.abort(grpc.StatusCode[code], str(problem["detail"])[:_STATUS_CHARS], trailing)


def _trailing(incoming: Incoming) -> _Metadata:
    """What is told at the end of any call that was let in."""
    quota = incoming.quota
    return (*(quota_metadata(quota) if quota is not None else ()), *(_REPLAYED if incoming.replayed else ()))
