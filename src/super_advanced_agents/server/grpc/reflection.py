"""The standard gRPC reflection service, within bounds: anybody may ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from grpc_reflection.v1alpha import _async as reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.server.grpc.rpc import Rpc
from super_advanced_agents.tenancy.workspace import Workspace

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_REQUESTS_PER_S = 100.0
_BURST = 100
_IDLE_S = 30.0
_CACHED = 256


def reflection_rpcs(services: Sequence[str]) -> tuple[Rpc, ...]:
    """Return the method of the gRPC reflection service, with its handler.

    All callers together have 100 requests a second; each stream waits with its next, the rest stays unread.
    A stream on which nothing arrives for 30 s ends.

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
        self._waiting = asyncio.Lock()
        self._free_at = 0.0

    async def answer(
        self, requests: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncGenerator[ServerReflectionResponse, None]:
        while (request := await _next(requests)) is not None:
            await self._wait_for_rate()
            yield await self._reply(request)

    async def _wait_for_rate(self) -> None:
        # The rate is charged after the wait, so that streams which end while they wait do not delay others.
        async with self._waiting:
            loop = asyncio.get_running_loop()
            if (wait_s := self._free_at - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self._free_at = max(self._free_at, loop.time() - _BURST / _REQUESTS_PER_S) + 1 / _REQUESTS_PER_S

    async def _reply(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
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
