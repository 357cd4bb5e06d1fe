"""What every gRPC call passes on its way to what answers it: the objects of the gate, in the order of REST.

One door stands before each method. It takes a place, asks whose call it is and whether they may, charges for it, and
only then reads what was sent; so nothing is parsed for a caller without a credential. Whatever is raised leaves as a
status with the problem document beside it. Cancelling a call, by its caller or by its deadline, cancels the coroutine
that answers it, and with it whatever that waits for: a place in a batch, or the language model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing
from http import HTTPStatus
from typing import Any, TypeAlias, cast

import grpc
import orjson
from google.protobuf.message import DecodeError, Message

from super_advanced_agents.errors import AuthenticationError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.protocol.problems import (
    CODES,
    code_of,
    problem_details,
    problem_of,
    retry_after,
    status_of,
)
from super_advanced_agents.protocol.raising import error_of
from super_advanced_agents.server.admission import kind_of_rpc, overloaded
from super_advanced_agents.server.gate import Gate
from super_advanced_agents.server.grpc.rpcs import Rpc, Streaming, Unary, _RefusalError
from super_advanced_agents.server.idempotency import FIELD, Reply, digest_of
from super_advanced_agents.server.identity.rules import grpc_rule
from super_advanced_agents.server.limiting import Quota, quota_metadata
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.context import Access, Call, answering
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.tenancy.workspace import Workspace
from super_advanced_agents.types import JSONValue

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_log = get_logger("server")
_KEY = FIELD.lower()
_READ = frozenset({"authorization", "x-api-key", "cache-control", _KEY})
_WRITES = frozenset({Access.WRITE, Access.ADMIN})
_STATUS_CHARS = 200
_QUOTA = "quota"


class Door:
    """The way in to one method.

    Args:
        rpc: what answers, and what it is called by.
        gate: what every call passes.
        longest_s: how long the work on one request may take, and the wait for a caller who is to read or to send.
    """

    def __init__(self, rpc: Rpc, gate: Gate, *, longest_s: float) -> None:
        method = rpc.method
        self.path = method.path
        self.rule = grpc_rule(method.path)
        kind = kind_of_rpc(method.path)
        self.line = None if kind is None else gate.admission.line(kind)
        self.gate = gate
        self.streams = method.takes_stream or method.gives_stream
        self._longest_s = None if self.rule.public else longest_s
        self._method = method
        self._rpc = rpc

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """What the server registers. Requests reach it as bytes, so that a malformed frame has a status of ours."""
        if not self._method.gives_stream:
            return grpc.unary_unary_rpc_method_handler(self._unary)
        if self._method.takes_stream:
            return grpc.stream_stream_rpc_method_handler(self._many_to_many)
        return grpc.unary_stream_rpc_method_handler(self._one_to_many)

    async def _unary(self, frame: bytes, context: Context) -> bytes:
        async with _Visit(self, context) as visit, asyncio.timeout(self._longest_s):
            if visit.key is None:
                return await self._answer(frame, visit)
            return await self._once(frame, visit, visit.key)

    async def _answer(self, frame: bytes, visit: _Visit) -> bytes:
        answer = cast("Unary", self._rpc.answer)
        return (await answer(self._parsed(frame), visit.workspace)).SerializeToString()

    async def _once(self, frame: bytes, visit: _Visit, key: str) -> bytes:
        """A write with a key: answered as it was before, or carried out now."""

        async def make() -> Reply:
            try:
                return Reply(status=HTTPStatus.OK, body=await self._answer(frame, visit))
            except SuperAdvancedAgentsError as exc:
                return Reply(status=status_of(exc), body=orjson.dumps(problem_of(exc)))

        reply = await self.gate.idempotency.areply(key, digest_of(self.path.encode(), frame), make)
        if reply is None:
            raise _RefusalError(
                HTTPStatus.CONFLICT,
                f"the first request of this {FIELD} is still being carried out; try again later",
                retry_after_s=1,
            )
        if reply.replayed:
            visit.trailing = (*visit.trailing, ("idempotency-replayed", "true"))
        if reply.status != HTTPStatus.OK:
            raise error_of(orjson.loads(reply.body), status=reply.status)
        return reply.body

    async def _one_to_many(self, frame: bytes, context: Context) -> None:
        async with _Visit(self, context) as visit:
            await self._send_all(self._parsed(frame), visit, context)

    async def _many_to_many(self, frames: AsyncIterator[bytes], context: Context) -> None:
        async with _Visit(self, context) as visit, aclosing(self._requests(frames)) as requests:
            await self._send_all(requests, visit, context)

    async def _send_all(self, request: Any, visit: _Visit, context: Context) -> None:
        answer = cast("Streaming", self._rpc.answer)
        async with aclosing(answer(request, visit.workspace)) as replies:
            while True:
                async with asyncio.timeout(self._longest_s):
                    reply = await anext(replies, None)
                    if reply is None:
                        return
                    await context.write(reply.SerializeToString())

    async def _requests(self, frames: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
        async for frame in frames:
            yield self._parsed(frame)

    def _parsed(self, frame: bytes) -> Message:
        message: Message = self._method.request()
        try:
            message.ParseFromString(frame)
        except (DecodeError, RecursionError) as exc:
            raise InvalidInputError(f"the message is no {message.DESCRIPTOR.name}", field="message") from exc
        return message


class _Visit:
    """One call: let in when it is entered, and told on leaving what became of it.

    Attributes:
        workspace: the caller's tenant's; None at a method that anybody may call.
        key: its idempotency key, or None.
        trailing: metadata for the end of the call.
    """

    __slots__ = ("_answering", "_call", "_context", "_door", "_placed", "key", "trailing", "workspace")

    def __init__(self, door: Door, context: Context) -> None:
        self._door = door
        self._context = context
        self._placed = False
        self._call: Call | None = None
        self._answering: AbstractContextManager[Call] | None = None
        self.workspace = cast("Workspace", None)  # rules say which methods are public; theirs do not look at it
        self.key: str | None = None
        self.trailing: tuple[tuple[str, str | bytes], ...] = ()

    async def __aenter__(self) -> _Visit:
        try:
            line = self._door.line
            if line is not None:
                if not await line.enter():
                    raise overloaded(line.kind)
                self._placed = True
            if not self._door.rule.public:
                await self._let_in()
        except BaseException as exc:
            self._leave()
            await self._tell(exc)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._leave()
        if error is not None:
            await self._tell(error)
        elif trailing := (*self._quota(), *self.trailing):
            self._context.set_trailing_metadata(trailing)

    async def _let_in(self) -> None:
        door, sent = self._door, self._sent()
        gate = door.gate
        principal = await gate.authenticator.authenticate(
            authorization=sent.get("authorization"), api_key=sent.get("x-api-key")
        )
        door.rule.check(principal)
        self._call = call = Call(principal=principal, limiter=gate.limiter)
        call.notes[_QUOTA] = await gate.limiter.charge(principal, 1)
        if asks_for_fresh(sent.get("cache-control", "")):
            call.notes[NO_CACHE] = True
        if _KEY in sent and door.rule.access in _WRITES:
            if door.streams:
                raise InvalidInputError(f"a call of many messages takes no {FIELD}", field=FIELD)
            self.key = sent[_KEY]
        self.workspace = gate.workspaces.of(principal.tenant)
        self._answering = answering(call)
        self._answering.__enter__()

    def _sent(self) -> dict[str, str]:
        """What of the call's metadata means something here."""
        sent: dict[str, str] = {}
        for name, value in self._context.invocation_metadata() or ():
            if name in _READ:
                if name in sent:
                    error = InvalidInputError if name == _KEY else AuthenticationError
                    raise error(f"the metadata {name!r} was sent twice")
                sent[name] = value if isinstance(value, str) else value.decode("latin-1")
        return sent

    def _leave(self) -> None:
        if self._answering is not None:
            self._answering.__exit__(None, None, None)
            self._answering = None
        if self._placed and self._door.line is not None:
            self._placed = False
            self._door.line.leave()

    def _quota(self) -> tuple[tuple[str, str], ...]:
        quota = None if self._call is None else self._call.notes.get(_QUOTA)
        return quota_metadata(quota) if isinstance(quota, Quota) else ()

    async def _tell(self, error: BaseException) -> None:
        """End the call with the status of an error, unless its caller has gone away."""
        if isinstance(error, SuperAdvancedAgentsError):
            problem, code, headers = problem_of(error), code_of(error), retry_after(error)
        elif isinstance(error, _RefusalError):
            problem, code = problem_details(error.status, error.detail), CODES.get(error.status, "INTERNAL")
            headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        elif isinstance(error, TimeoutError):
            problem, headers = problem_details(HTTPStatus.GATEWAY_TIMEOUT, "the work took longer than it may"), {}
            code = "DEADLINE_EXCEEDED"
        elif isinstance(error, Exception):  # a fault of ours: the server logs it whole, the caller learns only that
            _log.error("server.call_crashed", extra={"path": self._door.path}, exc_info=error)
            problem = problem_details(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
            code, headers = "INTERNAL", {}
        else:
            return
        if code in {"INTERNAL", "UNKNOWN"}:
            _log.warning("server.call_failed", extra={"path": self._door.path, "reason": problem["detail"]})
        await self._end(problem, code, headers)

    async def _end(self, problem: dict[str, JSONValue], code: str, headers: dict[str, str]) -> None:
        trailing: tuple[tuple[str, str | bytes], ...] = (
            (ERROR_METADATA, orjson.dumps(problem)),
            *((name.lower(), value) for name, value in headers.items()),
            *self._quota(),
            *self.trailing,
        )
        await self._context.abort(grpc.StatusCode[code], str(problem["detail"])[:_STATUS_CHARS], trailing)
