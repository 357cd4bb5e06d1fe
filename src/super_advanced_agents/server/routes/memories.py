"""An agent's memories: `/v1/agents/{agent}/memories...`. An agent exists as soon as it is named."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.access import needs
from super_advanced_agents.server.dependencies import TheAgent, TheCall
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.json_requests import JSONRoute, json_response, shown_name
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import (
    ChosenMemories,
    ForgetIn,
    MemoriesIn,
    MemoryChanges,
    MemoryOut,
    OneMemoryIn,
    Page,
    Remember,
    Remembered,
    ScanMemories,
    TurnsIn,
    memory_out,
    page_out,
)
from super_advanced_agents.server.schemas_collections import Counted, Deleted
from super_advanced_agents.tenancy.context import Access

router = APIRouter(prefix="/v1/agents/{agent}", tags=["memories"], route_class=JSONRoute)


@router.post("/memories", response_model=Remembered, **needs(Access.WRITE))
async def remember(body: Remember, agent: TheAgent, call: TheCall, request: Request) -> Response:
    """Remember one text, a batch or a conversation; the answer means that all of it is durable."""
    if isinstance(body, OneMemoryIn):
        await call.charge(1)
        named, storing = "", agent.aadd_text_memories([body.memory()], dedupe=body.dedupe)
    elif isinstance(body, MemoriesIn):
        await call.charge(len(body.memories))
        memories = [memory.memory() for memory in body.memories]
        named, storing = "memories", agent.aadd_text_memories(memories, dedupe=body.dedupe)
    else:
        await call.charge(len(body.turns))
        named, storing = "turns", _turns(body, agent)
    with fields_of(named):
        return json_response({"uids": await while_connected(request.receive, storing)})


async def _turns(body: TurnsIn, agent: AsyncLLMAgent) -> list[str]:
    return await agent.aadd_turns([turn.turn() for turn in body.turns], session=body.session)


@router.get("/memories", response_model=Page, **needs(Access.READ))
async def list_memories(
    agent: TheAgent, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> Response:
    """One page of memories, in the order of their uids."""
    return json_response(page_out(await agent.ascan(after=after, limit=limit), limit))


@router.post("/memories:scan", response_model=Page, **needs(Access.READ))
async def scan_memories(body: ScanMemories, agent: TheAgent, request: Request) -> Response:
    """One page of the memories that match, in the order of their uids."""
    scanning = agent.ascan(body.where, after=body.after, limit=body.limit)
    return json_response(page_out(await while_connected(request.receive, scanning), body.limit))


@router.get("/memories:count", **needs(Access.READ))
async def count_all_memories(agent: TheAgent) -> Counted:
    """How many memories the agent has."""
    return Counted.model_construct(count=await agent.acount())


@router.post("/memories:count", **needs(Access.READ))
async def count_memories(body: ChosenMemories, agent: TheAgent, request: Request) -> Counted:
    """How many memories match."""
    return Counted.model_construct(count=await while_connected(request.receive, agent.acount(body.where)))


@router.post("/memories:forget", **needs(Access.WRITE))
async def forget_memories(body: ForgetIn, agent: TheAgent, request: Request) -> Deleted:
    """Forget memories by name, by filter, or by both; the answer means that it is durable."""
    forgetting = agent.aforget(body.uids, where=body.where)
    return Deleted.model_construct(deleted=await while_connected(request.receive, forgetting))


@router.get("/memories/{uid:path}", response_model=MemoryOut, **needs(Access.READ))
async def recall(uid: str, agent: TheAgent) -> Response:
    """One memory; 404 when there is none of that name."""
    record = await agent.aget(uid)
    if record is None:
        raise _no_memory(agent, uid)
    return json_response(memory_out(record))


@router.patch("/memories/{uid:path}", response_model=MemoryOut, **needs(Access.WRITE))
async def update_memory(uid: str, body: MemoryChanges, agent: TheAgent, call: TheCall, request: Request) -> Response:
    """Change one memory in place and show it; what the body does not name stays, and null clears."""
    if body.text is not None:
        await call.charge(1)
    with fields_of():
        found = await while_connected(request.receive, agent.aupdate_memory(uid, **body.given()))
    record = await agent.aget(uid) if found else None
    if record is None:
        raise _no_memory(agent, uid)
    return json_response(memory_out(record))


@router.delete("/memories/{uid:path}", status_code=HTTPStatus.NO_CONTENT, **needs(Access.WRITE))
async def forget(uid: str, agent: TheAgent) -> Response:
    """Forget one memory; 404 when there is none of that name."""
    if not await agent.aforget([uid]):
        raise _no_memory(agent, uid)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _no_memory(agent: AsyncLLMAgent, uid: str) -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, f"the agent {agent.name!r} has no memory {shown_name(uid)!r}")
