"""The standard gRPC reflection service, within bounds: anybody may ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from http import HTTPStatus

from grpc_reflection.v1alpha import _async as reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.server.pipeline import _RefusedError
from super_advanced_agents.tenancy.workspace import Workspace

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_STREAMS = 64
_REQUESTS_PER_S = 100.0
_BURST = 100
_REQUEST_BYTES = 1024
_IDLE_S = 30.0
_CACHED = 256


def reflection_rpcs(services: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the method of the gRPC reflection service, with its handler.

    All callers together have 64 streams and 100 requests a second; more requests wait unread. A stream on which nothing
    arrives for 30 s ends.

    Args:
        services: the full names of the services to describe.
    """
    servicer = _CachedReflection(services)

    def info(
        requests: AsyncIterator[ServerReflectionRequest], workspace: Workspace
    ) -> AsyncGenerator[ServerReflectionResponse, None]:
        del workspace
        return servicer.answer(requests)

    method = Method(REFLECTION, "ServerReflectionInfo", ServerReflectionRequest, ServerReflectionResponse, True, True)
    return (Rpc(method, info),)


class _CachedReflection:
    def __init__(self, services: Sequence[str]) -> None:
        self._servicer = reflection.ReflectionServicer(services)
        self._replies: dict[bytes, ServerReflectionResponse] = {}
        self._streams = 0
        self._free_at = 0.0

    async def answer(
        self, requests: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncGenerator[ServerReflectionResponse, None]:
        if self._streams >= _STREAMS:
            raise _RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many reflection streams are open; try again later")
        self._streams += 1
        try:
            while True:
                await self._wait_for_turn()
                request = await _next(requests)
                if request is None:
                    return
                yield await self._reply(request)
        finally:
            self._streams -= 1

    async def _wait_for_turn(self) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _BURST / _REQUESTS_PER_S) + 1 / _REQUESTS_PER_S
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    async def _reply(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        if request.ByteSize() > _REQUEST_BYTES:
            raise InvalidInputError(f"a reflection request is longer than {_REQUEST_BYTES} bytes", field="message")
        key = request.SerializeToString(deterministic=True)
        reply = self._replies.get(key)
        if reply is None:
            reply = await self._describe(request)
            if len(self._replies) < _CACHED and not reply.HasField("error_response"):
                self._replies[key] = reply
        return reply

    async def _describe(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        replies: AsyncIterator[ServerReflectionResponse] = self._servicer.ServerReflectionInfo(_only(request), None)
        return await anext(replies)


async def _only(request: ServerReflectionRequest) -> AsyncIterator[ServerReflectionRequest]:
    yield request


async def _next(requests: AsyncIterator[ServerReflectionRequest]) -> ServerReflectionRequest | None:
    try:
        async with asyncio.timeout(_IDLE_S):
            return await anext(requests, None)
    except TimeoutError:
        return None
