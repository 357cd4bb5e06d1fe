"""An agent's memories: `/v1/agents/{agent}/memories...`. An agent exists as soon as it is named."""

from __future__ import annotations

from typing import Annotated, Any, Union

from fastapi import APIRouter
from pydantic import Discriminator, Tag
from starlette.exceptions import HTTPException

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol import requests as protocol
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.server.http.body import JSONRoute, printable_name
from super_advanced_agents.server.http.endpoints import (
    Endpoint,
    ParsedRequest,
    add_endpoint,
    next_cursor,
    not_found,
    renamed_field,
)
from super_advanced_agents.server.http.schemas import results as answers
from super_advanced_agents.server.http.schemas.bodies import Parameters, body_of
from super_advanced_agents.types import Dedupe, Memory, Record

router = APIRouter(tags=["memories"], route_class=JSONRoute)

OneMemoryIn = body_of(Memory, "OneMemoryIn", dedupe=(Dedupe | None, None))
MemoriesIn = body_of(protocol.RememberRequest, "MemoriesIn")
TurnsIn = body_of(protocol.RememberTurnsRequest, "TurnsIn")
_HIDDEN = ("vector", "namespace", "place")


def _shape(body: object) -> str:
    if isinstance(body, dict):
        return "<batch>" if "memories" in body else "<turns>" if "turns" in body else "<one>"
    return "<one>"


_TAGGED = {"<one>": OneMemoryIn, "<batch>": MemoriesIn, "<turns>": TurnsIn}
Remember: Any = Annotated[
    Union[tuple(Annotated[shape, Tag(tag)] for tag, shape in _TAGGED.items())],  # noqa: UP007  # made, not written
    Discriminator(_shape),
]
"""One memory, a batch, or a conversation; which one, its members tell. The tags stay out of error messages."""


async def _remember(parsed: ParsedRequest) -> Any:
    body = parsed.body
    if isinstance(body, TurnsIn):
        return {"uids": await parsed.of(ops.REMEMBER_TURNS).result()}
    if isinstance(body, MemoriesIn):
        return {"uids": await parsed.result()}
    with renamed_field("memories[0]", ""):
        one = lambda: protocol.RememberRequest(memories=[body.made()], dedupe=body.dedupe)  # noqa: E731
        return {"uids": await parsed.result(one)}


async def _page(parsed: ParsedRequest) -> Any:
    page = await parsed.result()
    return {"memories": [_memory(record) for record in page], "next": next_cursor(page, parsed.value("limit"))}


async def _recall(parsed: ParsedRequest) -> Any:
    record = await parsed.of(ops.GET_MEMORY).result(lambda: protocol.GetMemoryRequest(uid=parsed.uid))
    if record is None:
        raise _no_memory(parsed)
    return _memory(record)


async def _update(parsed: ParsedRequest) -> Any:
    if not await parsed.result():
        raise _no_memory(parsed)
    return await _recall(parsed)


async def _forget(parsed: ParsedRequest) -> None:
    if not await parsed.result(lambda: protocol.ForgetRequest(uids=[parsed.uid])):
        raise _no_memory(parsed)


def _memory(record: Record) -> dict[str, Any]:
    """Return a memory as it is told: with its text, without its vector."""
    told: dict[str, Any] = json_of_result(record, vectors="none")
    return {"text": record.text, **{name: value for name, value in told.items() if name not in _HIDDEN}}


def _no_memory(parsed: ParsedRequest) -> HTTPException:
    return not_found(f"the agent {parsed.context.target!r} has no memory {printable_name(parsed.uid)!r}")


ENDPOINTS = (
    Endpoint(operation=ops.REMEMBER, body=Remember, shape=answers.StoredUids, show=_remember),
    Endpoint(
        operation=ops.LIST_MEMORIES,
        parameters=body_of(protocol.ListMemoriesRequest, "MemoryPage", without=["where"], base=Parameters),
        shape=answers.Page,
        show=_page,
        doc="One page of memories, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.SCAN_MEMORIES,
        body=body_of(protocol.ListMemoriesRequest, "ScanMemories"),
        shape=answers.Page,
        show=_page,
    ),
    Endpoint(operation=ops.COUNT_ALL_MEMORIES, shape=answers.Counted, doc="How many memories the agent has."),
    Endpoint(
        operation=ops.COUNT_MEMORIES,
        body=body_of(protocol.CountMemoriesRequest, "ChosenMemories"),
        shape=answers.Counted,
    ),
    Endpoint(operation=ops.FORGET, body=body_of(protocol.ForgetRequest, "ForgetIn"), shape=answers.Deleted),
    Endpoint(operation=ops.GET_MEMORY, shape=answers.MemoryOut, show=_recall),
    Endpoint(
        operation=ops.UPDATE_MEMORY,
        body=body_of(protocol.UpdateMemoryRequest, "MemoryChanges", without=["uid"]),
        shape=answers.MemoryOut,
        show=_update,
        doc="Change one memory in place and show it; what the body does not name stays, and null clears.",
    ),
    Endpoint(operation=ops.FORGET_ONE, show=_forget, doc="Forget one memory; 404 when there is none of that name."),
)

for each in ENDPOINTS:
    add_endpoint(router, each)
