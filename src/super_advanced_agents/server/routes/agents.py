"""Agents, their settings, and what they find and answer: `/v1/agents/...`. An agent exists as soon as it is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.errors import AgentNotFoundError
from super_advanced_agents.server.access import needs
from super_advanced_agents.server.dependencies import TheAgent, TheCall, TheWorkspace
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.json_requests import JSONRoute, json_response
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import (
    AnswerOut,
    AskRequest,
    Results,
    SearchRequest,
    found_out,
    results_out,
)
from super_advanced_agents.server.schemas_tenant import AgentOut, Agents
from super_advanced_agents.server.sse import MEDIA_TYPE, EventStream, event
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.reranking import chosen_reranker

router = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=JSONRoute)

_EVENTS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {
        "content": {
            MEDIA_TYPE: {
                "schema": {"type": "string"},
                "example": 'event: sources\ndata: {"results":[]}\n\nevent: text\ndata: {"text":"Paris"}\n\n'
                'event: done\ndata: {"text":"Paris"}\n\n',
            }
        }
    }
}


@router.get("", **needs(Access.READ))
async def list_agents(workspace: TheWorkspace) -> Agents:
    """The agents that were given settings, by name; agents of all other names exist with the defaults."""
    return Agents.model_construct(agents=[AgentOut.of(info) for info in await workspace.aagents()])


@router.get("/{agent}", **needs(Access.READ))
async def get_agent(agent: str, workspace: TheWorkspace) -> AgentOut:
    """An agent's settings; 404 when it was given none (it works all the same)."""
    return AgentOut.of(await workspace.aagent_info(agent))


@router.put("/{agent}", **needs(Access.ADMIN))
async def put_agent(agent: str, body: AgentSettings, workspace: TheWorkspace) -> AgentOut:
    """Give an agent settings, in place of those it had; the answer means that they are durable."""
    return AgentOut.of(await workspace.aput_agent(agent, body))


@router.delete("/{agent}", status_code=HTTPStatus.NO_CONTENT, **needs(Access.ADMIN))
async def delete_agent(agent: str, workspace: TheWorkspace) -> Response:
    """Give an agent the defaults again; its memories stay. 404 when it has them already."""
    if not await workspace.adelete_agent(agent):
        raise AgentNotFoundError(f"the agent {agent!r} has no settings", hint="it works all the same")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/{agent}/search", response_model=Results, **needs(Access.READ))
async def search_memories(
    body: SearchRequest, agent: TheAgent, workspace: TheWorkspace, call: TheCall, request: Request
) -> Response:
    """Find the memories that are most like the query, best first."""
    rerank = await chosen_reranker(body.rerank, agent.name, workspace, call)
    with fields_of():
        found = agent.asearch_text(body.query, **body.options(), explain=body.explain, rerank=rerank)
        return json_response(results_out(await while_connected(request.receive, found)))


@router.post("/{agent}/ask", response_model=AnswerOut, responses=_EVENTS, **needs(Access.GENERATE))
async def ask(agent: str, body: AskRequest, workspace: TheWorkspace, call: TheCall, request: Request) -> Response:
    """Answer a question from memories, as JSON or, with `stream` or `Accept: text/event-stream`, piece by piece.

    The events are `sources` (once), `text` (many), and `done` or `error`.
    """
    answering = workspace.agent(agent, answer_tokens=body.answer_tokens)
    await call.charge(body.answer_tokens or workspace.agent_settings(agent).answer_tokens)
    options = {**body.options(), "rerank": await chosen_reranker(body.rerank, agent, workspace, call)}
    if body.stream or MEDIA_TYPE in request.headers.get("accept", ""):
        # The first piece of text is waited for: what fails before it answers with a status, not inside a 200.
        events = _answer_events(answering, body.question, options)
        return await EventStream.start(events, request.receive, ahead=2)
    return json_response(await while_connected(request.receive, _answer(answering, body.question, options)))


async def _answer(agent: AsyncLLMAgent, question: str, options: dict[str, Any]) -> dict[str, Any]:
    with fields_of(question="question"):
        sources = await agent.asearch_text(question, **options)
    answer = await agent.aask(question, sources=sources)
    return {"text": answer.text, "sources": [found_out(match) for match in answer.sources]}


async def _answer_events(agent: AsyncLLMAgent, question: str, options: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    with fields_of(question="question"):
        sources = await agent.asearch_text(question, **options)
    yield event("sources", results_out(sources))
    said: list[str] = []
    async with aclosing(agent.astream_answer(question, sources=sources)) as pieces:
        async for piece in pieces:
            said.append(piece)
            yield event("text", {"text": piece})
    yield event("done", {"text": "".join(said).strip()})
