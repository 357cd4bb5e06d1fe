"""The gRPC handlers of all server operations: they decode messages and encode results."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from google.protobuf.message import Message

from super_advanced_agents._runtime.concurrency.budget import answers_limited
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.codec import count_records, decode, encode
from super_advanced_agents.protocol.operations import BY_RPC, Operation
from super_advanced_agents.protocol.replies import encode_reply
from super_advanced_agents.protocol.requests import ChatRequest
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.protocol.v1 import jobs_pb2 as jobs
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores
from super_advanced_agents.server.grpc.conversions import encode_in_slices, is_long
from super_advanced_agents.server.grpc.rpc import Rpc, StreamingHandler, UnaryHandler, map_in_order
from super_advanced_agents.server.handlers.agents import ask_stream, chat_stream
from super_advanced_agents.server.handlers.context import HandlerContext
from super_advanced_agents.server.handlers.jobs import watch_job
from super_advanced_agents.server.handlers.registry import execute
from super_advanced_agents.server.limits.sending import SMALL_ANSWER_BYTES
from super_advanced_agents.server.services import Services
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError
from super_advanced_agents.stores.requests import ScanRequest
from super_advanced_agents.tenancy.context import SupportsReservation, active_context, current_context
from super_advanced_agents.tenancy.workspace import Workspace
from super_advanced_agents.types import Record

_SEARCHES_AHEAD = 8
_BYTES_OF_RECORD = 1024
"""Requests of 64 KiB are decoded off the event loop as those of 64 records are."""
_CHUNK_BYTES = 256 * 1024
"""The size in bytes at which a message of a stream of records is sent."""


def operation_rpcs(services: Services) -> list[Rpc]:
    """Return the gRPC methods of all server operations, each with its handler.

    Args:
        services: the objects that every request uses.
    """
    return [Rpc(operation.rpc, _handler_of(operation, services)) for operation in BY_RPC.values() if operation.rpc]


def _handler_of(operation: Operation, services: Services) -> UnaryHandler | StreamingHandler:
    method = _OperationMethod(operation, services)
    streams: dict[str, StreamingHandler] = {
        ops.ADD_STREAM.name: method.add_stream,
        ops.SEARCH_STREAM.name: method.search_stream,
        ops.SCAN_STREAM.name: method.scan_stream,
        ops.ASK_STREAM.name: method.answer_stream,
        ops.AGENT_CHAT_STREAM.name: method.answer_stream,
        ops.WATCH_JOB.name: method.watch_job,
    }
    return streams.get(operation.name, method.unary)


class _OperationMethod:
    def __init__(self, operation: Operation, services: Services) -> None:
        assert operation.rpc is not None
        assert operation.request is not None
        self._operation = operation
        self._services = services
        self._request = operation.request
        self._reply: type[Message] = operation.rpc.reply

    async def unary(self, message: Any, workspace: Workspace) -> Message | bytes:
        read_request = partial(decode, message, self._request)
        size = max(count_records(message), message.ByteSize() // _BYTES_OF_RECORD)
        result = await execute(read_request, self._context(message, workspace), size=size)
        # Memories are sent without their vectors unless these are asked for.
        vectors = self._operation.target != "agent" or getattr(message, "with_vectors", False)
        if not is_long(result):
            return encode_reply(result, self._reply, self._operation.reply, vectors=vectors)
        encoding = encode_in_slices(result, self._reply, self._operation.reply, vectors=vectors)
        return await self._services.conversions.submit(encoding, owner=current_context().principal.tenant)

    async def add_stream(
        self, messages: AsyncIterator[stores.AddRequest], workspace: Workspace
    ) -> AsyncGenerator[Message | bytes, None]:
        # One batch after the other: a later one may replace records that an earlier one has added.
        async for message in messages:
            async with self._working():
                reply = await self.unary(message, workspace)
            yield reply

    async def search_stream(
        self, messages: AsyncIterator[stores.SearchRequest], workspace: Workspace
    ) -> AsyncGenerator[Message | bytes, None]:
        reservation = current_context().reservation

        async def search(message: stores.SearchRequest) -> tuple[stores.SearchRequest, Message | bytes | None]:
            await current_context().charge(1)  # each search costs as much as a call of its own
            async with self._working(reservation=_LongAnswerDeferred()):
                try:
                    return message, await self.unary(message, workspace)
                except AnswerNeedsReservationError:
                    return message, None

        async for message, reply in map_in_order(messages, search, ahead=_SEARCHES_AHEAD):
            if reply is not None:
                yield reply
                continue
            # Long answers are read one after the other: a reservation of this call must not wait for another of it.
            async with self._working():
                long_reply = await self.unary(message, workspace)
            yield long_reply
            if reservation is not None:
                reservation.shrink(0)  # the answer is sent

    async def scan_stream(self, message: stores.ScanRequest, workspace: Workspace) -> AsyncGenerator[Message, None]:
        # One page is held in memory at a time, and a large page is sent in several messages.
        async with self._working():
            store = await workspace.acollection(message.collection)
            request = await store.abuild_request(lambda bounds: decode(message, ScanRequest, bounds=bounds))
        while True:
            async with self._working():
                page, request = await _short_page(store, request)
            if not page:
                return
            for reply in _chunks(encode_reply(page, stores.ScanResponse, "records").records):
                yield reply
            # A short page need not be the last one: records with equal uids stay together on one page.
            request = request.replaced(after=page[-1].uid)

    async def answer_stream(
        self, message: agents.AskRequest | agents.ChatRequest, workspace: Workspace
    ) -> AsyncGenerator[Message, None]:
        request = decode(message, self._request)
        answer = chat_stream if isinstance(request, ChatRequest) else ask_stream
        async with self._working(), aclosing(answer(request, self._context(message, workspace))) as events:
            async for event in events:
                yield encode(event, agents.AskEvent)

    async def watch_job(self, message: jobs.GetJobRequest, workspace: Workspace) -> AsyncGenerator[Message, None]:
        context, streams = self._context(message, workspace), self._services.admission.streams
        async with aclosing(watch_job(context, streams)) as changes:
            async for info in changes:
                yield encode(info, jobs.Job)

    @asynccontextmanager
    async def _working(self, *, reservation: SupportsReservation | None = None) -> AsyncIterator[None]:
        # A stream holds a permit only while one of its messages is worked on, and waits for it: its caller would lose
        # what it has sent before.
        context = current_context()
        admission = self._services.admission
        async with admission.enter(self._operation.permit, context.principal.tenant, patient=True) as permit:
            reservation = reservation or context.reservation
            with active_context(replace(context, permit=permit, reservation=reservation)):
                yield

    def _context(self, message: Any, workspace: Workspace) -> HandlerContext:
        operation = self._operation
        return HandlerContext(
            operation=operation,
            target=getattr(message, operation.target) if operation.target else "",
            workspace=workspace,
            request_context=current_context(),
            conversions=self._services.conversions,
            request_bytes=message.ByteSize(),
            jobs=self._services.jobs,
        )


class _LongAnswerDeferred:
    # Refuses a long answer to a search of a stream whose earlier searches are not answered yet; it is read again then.
    async def acquire(self) -> None:
        raise AnswerNeedsReservationError

    def shrink(self, size_bytes: int) -> None:
        pass


async def _short_page(store: VectorStore, request: ScanRequest) -> tuple[list[Record], ScanRequest]:
    # A page is kept while its records wait for the client, so one that would be long is made shorter.
    while True:
        try:
            with answers_limited(SMALL_ANSWER_BYTES):
                return await store.aexecute(request), request
        except AnswerNeedsReservationError:
            request = request.replaced(limit=max(1, request.limit // 4))


def _chunks(records: Iterable[shared.Record]) -> Iterable[stores.ScanResponse]:
    batch: list[shared.Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += record.ByteSize()
        if size >= _CHUNK_BYTES:
            yield stores.ScanResponse(records=batch)
            batch, size = [], 0
    if batch:
        yield stores.ScanResponse(records=batch)
