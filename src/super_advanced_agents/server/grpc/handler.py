"""The gRPC method handlers, which check each call and report errors as gRPC statuses.

A call's metadata is checked before a message is read, so that a caller without a credential has none received. Every
exception ends the call with a status and the problem document in the trailing metadata. Cancelling a call, by its
caller or by its deadline, cancels the coroutine of its handler and everything that it awaits, such as a slot in a batch
or the language model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import unquote

import grpc
import orjson
from google.protobuf.message import Message

from super_advanced_agents.errors import DeadlineExceededError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.error_mapping import error_of_problem
from super_advanced_agents.protocol.json_parser import INLINE_BYTES
from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.protocol.problems import CODES, grpc_code_of, problem_of, status_of
from super_advanced_agents.server.forwarded import FORWARDED_FIELD, TrustedProxies
from super_advanced_agents.server.grpc.conversions import parse, parse_in_slices
from super_advanced_agents.server.grpc.messages import CallMessages, Context
from super_advanced_agents.server.grpc.peers import Peers, calling_peer
from super_advanced_agents.server.grpc.rpc import Rpc, StreamingHandler, UnaryHandler
from super_advanced_agents.server.grpc.unread_answers import UnreadAnswers
from super_advanced_agents.server.handlers.registry import note_work
from super_advanced_agents.server.idempotency.results import Reply
from super_advanced_agents.server.limits.cost import answer_units
from super_advanced_agents.server.limits.rate_limit import quota_metadata
from super_advanced_agents.server.observing.requests import REQUEST_ID, ObservedRequest, new_request_id
from super_advanced_agents.server.pipeline import (
    READ_FIELDS,
    IncomingRequest,
    Pipeline,
    _RefusedError,
    problem_and_headers,
)
from super_advanced_agents.server.route_table import rpc_operation
from super_advanced_agents.server.services import Services
from super_advanced_agents.telemetry import current_request_id, get_logger
from super_advanced_agents.tenancy.workspace import Workspace

T = TypeVar("T")

_Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_log = get_logger("server")
_STATUS_CHARS = 200
_PUBLIC_BYTES = 1024
"""The limit on the messages of callers without a credential: names of services and symbols."""

_REQUEST_ID = REQUEST_ID.lower()
_NOTED_FIELDS = READ_FIELDS | {_REQUEST_ID, FORWARDED_FIELD, "traceparent", "tracestate"}
_REPLAYED = (("idempotency-replayed", "true"),)


class MethodHandler:
    """Serve the calls of one gRPC method: check each call, run its handler, and report errors.

    Args:
        rpc: the method and its handler.
        services: the objects that every request uses.
        pipeline: the checks before the handler.
        peers: the connections of the server.

    Attributes:
        path: the method's full name, `/package.Service/Method`.
        method: the method and its message types.
    """

    def __init__(self, rpc: Rpc, services: Services, pipeline: Pipeline, peers: Peers) -> None:
        self.method = rpc.method
        self.path = rpc.method.path
        self._operation = rpc_operation(self.path)
        self._services = services
        self._pipeline = pipeline
        self._peers = peers
        timeout_s = services.runtime.settings.write_timeout_s
        self._answers = UnreadAnswers(services.sending, peers, timeout_s=timeout_s)
        self._rpc = rpc
        self._proxies = TrustedProxies(services.runtime.settings.trusted_proxies)

    def method_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return this method's `grpc.RpcMethodHandler`, to register with the gRPC server.

        It takes a stream of requests even where there is only one, since gRPC reads that one before it calls a handler
        of one request, and it takes them as bytes, so that a malformed message fails with this server's status.
        """
        if self.method.gives_stream:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.stream_unary_rpc_method_handler(self._unary)

    async def _unary(self, frames: object, context: Context) -> bytes:
        del frames
        return await self._checked(context, self._answer_one)

    async def _answer_one(self, incoming: IncomingRequest, messages: CallMessages, context: Context) -> bytes:
        frame = await messages.one()
        async with self._pipeline.work(incoming):
            if incoming.key is None:
                reply = await self._answer(frame, incoming)
            else:
                reply = await self._answer_once(frame, incoming, incoming.key)
            self._answers.send_last(context, incoming, len(reply))
        return reply

    async def _stream(self, frames: object, context: Context) -> None:
        del frames
        await self._checked(context, self._answer_stream)

    async def _answer_stream(self, incoming: IncomingRequest, messages: CallMessages, context: Context) -> None:
        if not self.method.takes_stream:
            request = await self._parse(await messages.one(), incoming)
            async with self._pipeline.work(incoming):
                await self._send_all(request, incoming, context, messages)
            return
        async with (
            self._pipeline.admission.stream(incoming.tenant),
            self._pipeline.work(incoming),
            aclosing(self._requests(messages, incoming)) as requests,
        ):
            await self._send_all(requests, incoming, context, messages)

    async def _answer(self, frame: bytes, incoming: IncomingRequest) -> bytes:
        handler = cast("UnaryHandler", self._rpc.handler)
        reply = _serialized(await handler(await self._parse(frame, incoming), self._workspace(incoming)))
        await self._settle(reply, incoming)
        return reply

    async def _settle(self, reply: bytes, incoming: IncomingRequest) -> None:
        incoming.sent_bytes += len(reply)
        if incoming.context is not None:
            await incoming.context.settle(answer_units(len(reply)))

    async def _answer_once(self, frame: bytes, incoming: IncomingRequest, key: str) -> bytes:
        async def make() -> Reply:
            try:
                body = await self._answer(frame, incoming)
                return Reply(status=HTTPStatus.OK, body=body, complete=not self._operation.shows_memory)
            except SuperAdvancedAgentsError as exc:
                return Reply(status=status_of(exc), body=orjson.dumps(problem_of(exc)))

        reply = await self._pipeline.reply_once(key, (self.path.encode(), frame), make)
        incoming.replayed = reply.replayed
        if reply.status != HTTPStatus.OK:
            raise error_of_problem(orjson.loads(reply.body), status=reply.status)
        return reply.body

    async def _send_all(
        self, request: Any, incoming: IncomingRequest, context: Context, messages: CallMessages
    ) -> None:
        handler = cast("StreamingHandler", self._rpc.handler)
        write: asyncio.Future[None] | None = None
        try:
            async with aclosing(handler(request, self._workspace(incoming))) as replies:
                while write is None:
                    async with asyncio.timeout(incoming.timeout_s):
                        reply = await anext(replies, None)
                    if reply is None:
                        return
                    encoded = _serialized(reply)
                    await self._settle(encoded, incoming)
                    write = await self._answers.write(context, incoming.tenant, encoded)
                    messages.answered()
            _log.info("server.reader_left_behind", extra={"path": self.path})
            # The handler has ended and freed what it held. A status can be sent only once the last message is read.
            async with asyncio.timeout(incoming.timeout_s):
                await write
            raise DeadlineExceededError("the client did not read its answers in time", hint="read them sooner")
        finally:
            if write is not None:
                write.cancel()

    async def _requests(self, messages: CallMessages, incoming: IncomingRequest) -> AsyncGenerator[Message, None]:
        async with aclosing(messages.stream()) as frames:
            async for frame in frames:
                yield await self._parse(frame, incoming)

    async def _parse(self, frame: bytes, incoming: IncomingRequest) -> Message:
        kind: type[Message] = self.method.request
        if incoming.context is None and len(frame) > _PUBLIC_BYTES:
            raise InvalidInputError(
                f"a message to this method is longer than {_PUBLIC_BYTES} bytes",
                field="message",
                hint="send a shorter one",
            )
        if len(frame) <= INLINE_BYTES or incoming.context is None:
            return parse(frame, kind)
        owner = incoming.context.principal.tenant
        return await self._services.conversions.submit(parse_in_slices(frame, kind), owner=owner)

    def _workspace(self, incoming: IncomingRequest) -> Workspace:
        context = incoming.context  # None for public methods, whose handlers ignore the workspace
        return cast("Workspace", None) if context is None else self._services.workspaces.of(context.principal.tenant)

    async def _checked(
        self, context: Context, answer: Callable[[IncomingRequest, CallMessages, Context], Awaitable[T]]
    ) -> T:
        fields = [
            (name, (value if isinstance(value, str) else value.decode("latin-1")).strip(" \t"))
            for name, value in context.invocation_metadata() or ()
            if name in _NOTED_FIELDS
        ]
        headers = {name: value for name, value in fields if name not in READ_FIELDS}
        forwarded = [value for name, value in fields if name == FORWARDED_FIELD]
        incoming = IncomingRequest(operation=self._operation, fields=fields, streams=self.method.gives_stream)
        observed = ObservedRequest(
            protocol="grpc",
            request_id=new_request_id(headers.get(_REQUEST_ID)),
            address=self._proxies.caller(_address(context.peer()), forwarded),
            operation=self._operation,
        )
        with self._services.observer.observe(observed, headers):
            return await self._run_checks(context, answer, incoming, observed)

    async def _run_checks(
        self,
        context: Context,
        answer: Callable[[IncomingRequest, CallMessages, Context], Awaitable[T]],
        incoming: IncomingRequest,
        observed: ObservedRequest,
    ) -> T:
        try:
            await self._pipeline.check(incoming)  # before a byte of a message is read
            traffic = None
            if incoming.context is None:
                calling_peer.set(context.peer())
            else:
                traffic = self._peers.note(context.peer(), incoming.tenant)
            settings = self._services.runtime.settings
            messages = CallMessages(
                context,
                admission=self._pipeline.admission,
                tenant=incoming.tenant,
                traffic=traffic,
                timeout_s=settings.body_timeout_s,
                idle_s=settings.stream_idle_s,
            )
            try:
                result = await answer(incoming, messages, context)
                observed.status = HTTPStatus.OK
                await self._record(observed, incoming)
            finally:
                observed.request_bytes, observed.response_bytes = messages.received_bytes, incoming.sent_bytes
                messages.release()
        except Exception as exc:
            error = exc
            observed.principal = incoming.principal
        else:
            context.set_trailing_metadata(_trailing(incoming))
            return result
        _free_frames(error)
        await self._abort(error, observed, incoming, context)
        raise AssertionError("a refused call was aborted")

    async def _record(self, observed: ObservedRequest, incoming: IncomingRequest) -> None:
        observed.principal = incoming.principal
        audit = self._services.audit
        if audit is None or observed.recorded or observed.principal is None or not audit.covers(self._operation):
            return
        observed.recorded = True
        if incoming.context is not None:
            note_work(observed, incoming.context.notes)
        await audit.arecord(observed.audit_entry())

    async def _abort(
        self, error: Exception, observed: ObservedRequest, incoming: IncomingRequest, context: Context
    ) -> None:
        if isinstance(error, TimeoutError):
            error = _RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "the work took longer than its deadline")
        elif not isinstance(error, (SuperAdvancedAgentsError, _RefusedError)):
            # An error of this server: the log has the traceback, and the caller learns only that it failed.
            _log.error("server.call_crashed", extra={"path": self.path}, exc_info=error)
            error = _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        problem, headers = problem_and_headers(error)
        status = observed.status = cast("HTTPStatus", problem["status"])
        code = CODES.get(status, "INTERNAL") if isinstance(error, _RefusedError) else grpc_code_of(error)
        with suppress(SuperAdvancedAgentsError):  # of the log, while it cannot be written
            await self._record(observed, incoming)
        if code in {"INTERNAL", "UNKNOWN"}:
            _log.warning("server.call_failed", extra={"path": self.path, "reason": problem["detail"]})
        trailing: _Metadata = (
            (ERROR_METADATA, orjson.dumps(problem)),
            *((name.lower(), value) for name, value in headers.items()),
            *_trailing(incoming),
        )
        await context.abort(grpc.StatusCode[code], str(problem["detail"])[:_STATUS_CHARS], trailing)


def _free_frames(error: BaseException | None) -> None:
    # gRPC's call and its error refer to each other, so the messages in the frames would last until the collector of
    # garbage comes: 24 MiB for each refused answer.
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _address(peer: str) -> str:
    # `ipv4:127.0.0.1:1234` or `ipv6:%5B::1%5D:1234`
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def _serialized(reply: Message | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()


def _trailing(incoming: IncomingRequest) -> _Metadata:
    quota = incoming.quota
    request = ((_REQUEST_ID, current_request_id()),)
    return (*request, *(quota_metadata(quota) if quota is not None else ()), *(_REPLAYED if incoming.replayed else ()))
