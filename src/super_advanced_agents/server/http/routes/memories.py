"""Routes of an agent's memories (stored texts): `/v1/agents/{agent}/memories...`.

Every valid name is an agent, without being created first.
"""

from __future__ import annotations

from typing import Annotated, Any, Union

from fastapi import APIRouter
from pydantic import Discriminator, Tag
from starlette.exceptions import HTTPException

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol import requests as protocol
from super_advanced_agents.protocol.json_codec import json_of_result, json_of_vector
from super_advanced_agents.protocol.json_parser import printable_name
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import (
    Endpoint,
    ParsedRequest,
    add_endpoint,
    next_cursor,
    not_found,
    renamed_field,
)
from super_advanced_agents.server.http.schemas import results
from super_advanced_agents.server.http.schemas.bodies import Parameters, body_of
from super_advanced_agents.server.http.streaming.json_answers import Items
from super_advanced_agents.types import Dedupe, Memory, Record

router = APIRouter(tags=["memories"], route_class=JSONRoute)

OneMemoryIn = body_of(Memory, "OneMemoryIn", dedupe=(Dedupe | None, None), write_id=(str | None, None))
MemoriesIn = body_of(protocol.RememberRequest, "MemoriesIn")
TurnsIn = body_of(protocol.RememberTurnsRequest, "TurnsIn")
_HIDDEN_MEMBERS = ("vector", "namespace", "place")


_BODIES = {"<one>": OneMemoryIn, "<batch>": MemoriesIn, "<turns>": TurnsIn}


def _body_tag(body: object) -> str:
    if isinstance(body, dict):
        return "<batch>" if "memories" in body else "<turns>" if "turns" in body else "<one>"
    return next((tag for tag, model in _BODIES.items() if isinstance(body, model)), "<one>")


RememberIn: Any = Annotated[
    Union[tuple(Annotated[model, Tag(tag)] for tag, model in _BODIES.items())],  # noqa: UP007  # computed at run time
    Discriminator(_body_tag),
]
"""One memory, a batch, or a conversation, chosen by its members. Error messages leave the tags in `<>` out."""


async def _remember(parsed: ParsedRequest) -> Any:
    body = parsed.body
    if isinstance(body, TurnsIn):
        return {"uids": await parsed.for_operation(ops.REMEMBER_TURNS).result()}
    if isinstance(body, MemoriesIn):
        return {"uids": await parsed.result()}
    with renamed_field("memories[0]", ""):
        uids = await parsed.result(
            lambda: protocol.RememberRequest(memories=[body.build()], dedupe=body.dedupe, write_id=body.write_id)
        )
        return {"uids": uids}


async def _list(parsed: ParsedRequest) -> Any:
    page = await parsed.result()
    convert = _memory_with_vector if parsed.value("with_vectors") else _memory
    return {"memories": Items(page, convert), "next": next_cursor(page, parsed.value("limit"))}


async def _get(parsed: ParsedRequest) -> Any:
    record = await parsed.for_operation(ops.GET_MEMORY).result(lambda: protocol.GetMemoryRequest(uid=parsed.uid))
    if record is None:
        raise _no_memory(parsed)
    return _memory(record)


async def _update(parsed: ParsedRequest) -> Any:
    if not await parsed.result():
        raise _no_memory(parsed)
    return await _get(parsed)


async def _forget(parsed: ParsedRequest) -> None:
    if not await parsed.result(lambda: protocol.ForgetRequest(uids=[parsed.uid])):
        raise _no_memory(parsed)


def _memory(record: Record) -> dict[str, Any]:
    members: dict[str, Any] = json_of_result(record, vectors="none")
    return {"text": record.text, **{name: value for name, value in members.items() if name not in _HIDDEN_MEMBERS}}


def _memory_with_vector(record: Record) -> dict[str, Any]:
    return {**_memory(record), "vector": json_of_vector(record.vector, "base64")}


def _no_memory(parsed: ParsedRequest) -> HTTPException:
    return not_found(f"the agent {parsed.context.target!r} has no memory {printable_name(parsed.uid)!r}")


ENDPOINTS = (
    Endpoint(operation=ops.REMEMBER, body=RememberIn, response_model=results.StoredUids, handler=_remember),
    Endpoint(
        operation=ops.LIST_MEMORIES,
        parameters=body_of(protocol.ListMemoriesRequest, "ListMemoriesParameters", without=["where"], base=Parameters),
        response_model=results.Page,
        handler=_list,
        description="Return one page of memories, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.SCAN_MEMORIES,
        body=body_of(protocol.ListMemoriesRequest, "ScanMemories"),
        response_model=results.Page,
        handler=_list,
    ),
    Endpoint(
        operation=ops.COUNT_ALL_MEMORIES, response_model=results.Counted, description="Count the agent's memories."
    ),
    Endpoint(
        operation=ops.COUNT_MEMORIES,
        body=body_of(protocol.CountMemoriesRequest, "ChosenMemories"),
        response_model=results.Counted,
    ),
    Endpoint(operation=ops.FORGET, body=body_of(protocol.ForgetRequest, "ForgetIn"), response_model=results.Deleted),
    Endpoint(operation=ops.GET_MEMORY, response_model=results.MemoryOut, handler=_get),
    Endpoint(
        operation=ops.UPDATE_MEMORY,
        body=body_of(protocol.UpdateMemoryRequest, "MemoryChanges", without=["uid"]),
        response_model=results.MemoryOut,
        handler=_update,
        description="Change one memory in place and return it. Members that are left out stay; null clears one.",
    ),
    Endpoint(
        operation=ops.RELOCATE_MEMORIES,
        body=body_of(protocol.RelocateMemoriesRequest, "RelocationsIn"),
        response_model=results.Relocated,
    ),
    Endpoint(operation=ops.FORGET_ONE, handler=_forget, description="Delete one memory; 404 if there is none."),
)

for endpoint in ENDPOINTS:
    add_endpoint(router, endpoint)
