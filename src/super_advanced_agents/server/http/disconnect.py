"""Work that ends when its caller hangs up: nobody pays for an answer that nobody will read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def while_connected(receive: Receive, operation: Coroutine[Any, Any, T]) -> T:
    """Run `operation` to its end, unless the client goes away first; then it is cancelled, down to the model's slot.

    Args:
        receive: the request's channel, its body already read.
        operation: what the client waits for.

    Raises:
        ClientDisconnect: the client went away.
    """
    work = asyncio.ensure_future(operation)
    watch = asyncio.ensure_future(_until_gone(receive))
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


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
