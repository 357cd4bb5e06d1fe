"""The table of all operations' handlers, and the function that executes any request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from super_advanced_agents.config import LIMITS, checked_name
from super_advanced_agents.protocol.requests import MemoryWrite
from super_advanced_agents.server.handlers import agents, collections, jobs, orchestrators
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.server.handlers.scopes import as_visible, check_reads
from super_advanced_agents.server.observing.requests import ObservedRequest
from super_advanced_agents.stores.executor import stage_of
from super_advanced_agents.stores.requests import (
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    Request,
    ScanRequest,
    SearchRequest,
)
from super_advanced_agents.telemetry import stage
from super_advanced_agents.tenancy.idempotent_writes import WRITE_IDS, StoreWriteIds

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {**collections.HANDLERS, **agents.HANDLERS, **orchestrators.HANDLERS, **jobs.HANDLERS}
)
"""The handlers by the name of their operation; stores execute the other requests."""

TARGET, ITEMS = "audit.target", "audit.items"
"""The notes of a request's context that its entry in the audit log shows."""

_MAX_INLINE = 64
_LONG_READS = (GetRequest, HybridSearchRequest, KeywordSearchRequest, ScanRequest, SearchRequest)
"""The requests of stores whose answers may be long."""

ReadRequest: TypeAlias = Callable[..., Any]
"""A function that decodes a request; for a store, it takes the store's limits as `bounds=`."""


async def execute(read: ReadRequest, context: HandlerContext, *, size: int = 1) -> Any:
    """Decode a request, charge its cost to the rate limits, execute it, and return the result.

    Args:
        read: decodes the request; an error it raises is the caller's mistake.
        context: the caller and the target of the request.
        size: the approximate number of its records or vectors; a large request is decoded off the event loop.

    Raises:
        InvalidInputError: the request is not valid.
        PermissionDeniedError: its result would tell what is stored, and the caller may not read.
        RateLimitedError: the allowance is used up; no work was done.
    """
    kind = context.operation.request
    assert kind is not None
    context.request_context.notes[TARGET] = context.target[: LIMITS.name_chars]  # not checked yet
    principal = context.request_context.principal
    if not issubclass(kind, Request):
        request = read() if size <= _MAX_INLINE else await context.off_loop(read)
        if isinstance(request, MemoryWrite) and request.write_id is not None:
            write_id = checked_name(request.write_id, "write_id")
            context.request_context.notes[WRITE_IDS] = StoreWriteIds(write_id)
        check_reads(request, principal)
        await context.charge_work(request)
        result = await HANDLERS[context.operation.name](request, context)
        _note_items(result, context)
        return as_visible(request, result, principal)
    store = await context.workspace.acollection(context.target)
    request = await store.abuild_request(lambda bounds: read(bounds=bounds), size)
    check_reads(request, principal)
    await context.charge(request)
    await context.charge_work(request)
    work = partial(store.aexecute, request)
    with stage(stage_of(request)):
        result = await context.read(work) if isinstance(request, _LONG_READS) else await work()
    _note_items(result, context)
    return as_visible(request, result, principal)


def note_work(observed: ObservedRequest, notes: Mapping[str, object]) -> None:
    """Take the target and the number of records of a request from the notes of its context."""
    target, items = notes.get(TARGET), notes.get(ITEMS)
    observed.target = target if isinstance(target, str) else ""
    observed.items = items if isinstance(items, int) else None


def _note_items(result: object, context: HandlerContext) -> None:
    if isinstance(result, bool):
        context.request_context.notes[ITEMS] = int(result)
    elif isinstance(result, int):
        context.request_context.notes[ITEMS] = result
    elif isinstance(result, list):
        context.request_context.notes[ITEMS] = len(result)
