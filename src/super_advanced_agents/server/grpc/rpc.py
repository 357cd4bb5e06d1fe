"""A gRPC method paired with its handler, and concurrent handling of a stream's requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.tenancy.workspace import Workspace

T = TypeVar("T")
U = TypeVar("U")

UnaryHandler: TypeAlias = "Callable[[Any, Workspace], Coroutine[Any, Any, Message | bytes]]"
"""A handler of one request with one reply; `current_context()` returns the caller."""

StreamingHandler: TypeAlias = "Callable[[Any, Workspace], AsyncGenerator[Message | bytes, None]]"
"""A handler of one request, or of a stream of requests, with a stream of replies."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """Hold one gRPC method and the handler that serves it.

    An exception of the handler ends the call with the error's status; cancelling the call cancels the handler. The
    handler gets the workspace of the caller's tenant, and None if the method is public.

    Attributes:
        method: the method and its message types.
        handler: a `StreamingHandler` if the method replies with a stream, else a `UnaryHandler`.
    """

    method: Method[Any, Any]
    handler: UnaryHandler | StreamingHandler


async def map_in_order(
    requests: AsyncIterator[T], work: Callable[[T], Awaitable[U]], *, ahead: int
) -> AsyncGenerator[U, None]:
    """Run `work` on a stream of requests concurrently, and yield the results in request order.

    A result is yielded as soon as it is ready, so a caller may wait for it before it sends the next request. If the
    consumer leaves early, or one piece of work fails, all running work is cancelled, and has ended when this returns.

    Args:
        requests: the requests to work on.
        work: computes the result of one request.
        ahead: how many requests may run concurrently, at most.
    """
    started: asyncio.Queue[asyncio.Future[U] | None] = asyncio.Queue(maxsize=ahead)
    unread: set[asyncio.Future[U]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                task = asyncio.ensure_future(work(request))
                unread.add(task)
                await started.put(task)
        except Exception:  # earlier requests are answered first; a cancelled reader has no consumer to wake
            await started.put(None)
            raise
        await started.put(None)

    reader = asyncio.ensure_future(read())
    try:
        while (task := await started.get()) is not None:
            result = await task
            unread.discard(task)
            yield result
        await reader
    finally:
        unfinished: list[asyncio.Future[Any]] = [reader, *unread]
        for future in unfinished:
            future.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
