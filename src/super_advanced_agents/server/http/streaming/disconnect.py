"""Cancellation of a request's work when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def while_connected(receive: Receive, operation: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine and return its result; cancel it if the client disconnects first.

    The cancellation also frees the language model for other requests.

    Args:
        receive: the request's ASGI channel, its body already read.
        operation: the work that the client waits for.

    Raises:
        ClientDisconnect: the client disconnected.
    """
    work = asyncio.ensure_future(operation)
    watch = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        watch.result()  # raises what reading the request raised
        raise ClientDisconnect
    finally:
        work.cancel()
        watch.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
