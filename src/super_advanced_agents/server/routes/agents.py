"""An agent's memories, and its answers: `/v1/agents/{agent}/...`. An agent exists as soon as it is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.access import Access, needs
from super_advanced_agents.server.dependencies import TheAgent
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import (
    AnswerOut,
    AskRequest,
    Found,
    MemoriesIn,
    MemoryOut,
    Page,
    Remember,
    Results,
    SearchRequest,
    Stored,
    TurnsIn,
)
from super_advanced_agents.server.sse import MEDIA_TYPE, EventStream, event

router = APIRouter(prefix="/v1/agents/{agent}", tags=["agents"])


@router.post("/memories", **needs(Access.WRITE))
async def remember(body: Remember, agent: TheAgent, request: Request) -> Stored:
    """Remember one text, a batch or a conversation; the answer means that all of it is durable."""
    if isinstance(body, TurnsIn):
        named, storing = "turns", agent.aadd_turns([turn.turn() for turn in body.turns], session=body.session)
    elif isinstance(body, MemoriesIn):
        named, storing = "memories", agent.aadd_text_memories([memory.memory() for memory in body.memories])
    else:
        named, storing = "", agent.aadd_text_memories([body.memory()])
    with fields_of(named):
        return Stored(uids=await while_connected(request.receive, storing))


@router.get("/memories", **needs(Access.READ))
async def page(agent: TheAgent, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Page:
    """One page of memories, in the order of their uids."""
    records = await agent.ascan(after=after, limit=limit)
    following = records[-1].uid if len(records) == limit else None
    return Page.model_construct(memories=[MemoryOut.of(record) for record in records], next=following)


@router.get("/memories/{uid:path}", **needs(Access.READ))
async def recall(uid: str, agent: TheAgent) -> MemoryOut:
    """One memory; 404 when there is none of that name."""
    record = await agent.aget(uid)
    if record is None:
        raise _no_memory(agent, uid)
    return MemoryOut.of(record)


@router.delete("/memories/{uid:path}", status_code=HTTPStatus.NO_CONTENT, **needs(Access.WRITE))
async def forget(uid: str, agent: TheAgent) -> Response:
    """Forget one memory; 404 when there is none of that name."""
    if not await agent.aforget([uid]):
        raise _no_memory(agent, uid)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/search", **needs(Access.READ))
async def search(body: SearchRequest, agent: TheAgent, request: Request) -> Results:
    """Find the memories that are most like the query, best first."""
    found = agent.asearch_text(body.query, body.top_k, body.memory_type, where=body.where, mode=body.mode)
    with fields_of():
        return Results.of(await while_connected(request.receive, found))


@router.post("/ask", response_model=AnswerOut, **needs(Access.GENERATE))
async def ask(body: AskRequest, agent: TheAgent, request: Request) -> AnswerOut | EventStream:
    """Answer a question from memories, as JSON or, with `stream` or `Accept: text/event-stream`, piece by piece.

    The events are `sources` (once), `text` (many), and `done` or `error`.
    """
    if body.stream or MEDIA_TYPE in request.headers.get("accept", ""):
        # The first piece of text is waited for: what fails before it answers with a status, not inside a 200.
        return await EventStream.start(_answer_events(agent, body), request.receive, ahead=2)
    answer = await while_connected(request.receive, agent.aask(body.question, body.top_k))
    return AnswerOut.model_construct(text=answer.text, sources=[Found.of(match) for match in answer.sources])


async def _answer_events(agent: AsyncLLMAgent, body: AskRequest) -> AsyncGenerator[bytes, None]:
    sources = await agent.asearch_text(body.question, body.top_k)
    yield event("sources", Results.of(sources).model_dump())
    said: list[str] = []
    async with aclosing(agent.astream_answer(body.question, body.top_k, sources=sources)) as pieces:
        async for piece in pieces:
            said.append(piece)
            yield event("text", {"text": piece})
    yield event("done", {"text": "".join(said).strip()})


def _no_memory(agent: AsyncLLMAgent, uid: str) -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, f"the agent {agent.name!r} has no memory {uid!r}")
