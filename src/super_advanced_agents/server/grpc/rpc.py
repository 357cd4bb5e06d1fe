"""What a service is made of: methods of the protocol, each with what answers it."""

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

Unary: TypeAlias = "Callable[[Any, Workspace], Coroutine[Any, Any, Message]]"
"""Answers one request with one reply; `calls.current_context()` says for whom."""

Streaming: TypeAlias = "Callable[[Any, Workspace], AsyncGenerator[Message, None]]"
"""Answers one request, or an asynchronous iterator of them, with many replies."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method and what answers it, a `Streaming` where the method gives many replies and a `Unary` otherwise.

    What the answer raises is told as the error's status; cancelling the call cancels it. A workspace is the caller's
    tenant's; there is none for methods that anybody may call.
    """

    method: Method[Any, Any]
    answer: Unary | Streaming


async def in_order(
    requests: AsyncIterator[T], work: Callable[[T], Awaitable[U]], *, ahead: int
) -> AsyncGenerator[U, None]:
    """The results of `work` for each request, in order, while up to `ahead` of them are worked on at once.

    Each result is given as soon as it is there, so a caller may wait for it before the next request. Left early, or
    when one fails, all work under way is cancelled and has ended.
    """
    begun: asyncio.Queue[asyncio.Future[U] | None] = asyncio.Queue(maxsize=ahead)
    unread: set[asyncio.Future[U]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                task = asyncio.ensure_future(work(request))
                unread.add(task)
                await begun.put(task)
        except Exception:  # what came before it is answered first; cancelled, nobody waits for the end
            await begun.put(None)
            raise
        await begun.put(None)

    reader = asyncio.ensure_future(read())
    try:
        while (task := await begun.get()) is not None:
            result = await task
            unread.discard(task)
            yield result
        await reader
    finally:
        left: list[asyncio.Future[Any]] = [reader, *unread]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
