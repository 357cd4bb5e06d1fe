"""Answer any operation of the table that has a request: by its handler, or by the collection it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from super_advanced_agents.server.handlers import agents, collections, orchestrators
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.stores.requests import Request

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {**collections.HANDLERS, **agents.HANDLERS, **orchestrators.HANDLERS}
)
"""By the operation's name, for all but requests of a store."""

Read: TypeAlias = Callable[..., Any]
"""Makes the request of what came; for a store with `bounds=`, what that store takes."""


async def answer(read: Read, context: HandlerContext, *, size: int = 1) -> Any:
    """Read a request, charge for it, and answer it.

    Args:
        read: makes the request; what it raises is the caller's mistake.
        context: of the call.
        size: how many records or vectors it has, about; many are read off the event loop.
    """
    kind = context.operation.request
    assert kind is not None
    if not issubclass(kind, Request):
        return await HANDLERS[context.operation.name](read(), context)
    store = await context.workspace.acollection(context.target)
    request = await store.amake(lambda bounds: read(bounds=bounds), size)
    await context.charge(request)
    return await store.aexecute(request)
