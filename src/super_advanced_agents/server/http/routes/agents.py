"""Agents, their settings, and what they find and answer: `/v1/agents/...`. An agent exists as soon as it is named."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.protocol.requests import AskRequest, PutAgentRequest, SearchMemoriesRequest
from super_advanced_agents.server.handlers.agents import ask_stream
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import Endpoint, ParsedRequest, add_endpoint, show
from super_advanced_agents.server.http.schemas import results as answers
from super_advanced_agents.server.http.schemas.bodies import body_of
from super_advanced_agents.server.http.sse import MEDIA_TYPE, EventStream, event

router = APIRouter(tags=["agents"], route_class=JSONRoute)

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


async def _ask(parsed: ParsedRequest) -> Any:
    if not parsed.body.stream and MEDIA_TYPE not in parsed.request.headers.get("accept", ""):
        return await show(parsed)
    # The first piece of text is waited for: what fails before it answers with a status, not inside a 200.
    return await EventStream.start(_events(parsed), parsed.request.receive, ahead=2)


async def _events(parsed: ParsedRequest) -> AsyncGenerator[bytes, None]:
    async with aclosing(ask_stream(parsed.body.made(), parsed.context)) as events:
        async for each in events:
            if each.sources is not None:
                yield event("sources", {"results": json_of_result(each.sources)})
            elif each.done is None:
                yield event("text", {"text": each.text})
            else:
                yield event("done", {"text": each.done})


_SEARCH = body_of(SearchMemoriesRequest, "SearchRequest")

ENDPOINTS = (
    Endpoint(
        operation=ops.DEFAULT_SEARCH,
        body=_SEARCH,
        shape=answers.Matches,
        doc="Find the default agent's memories that are most like the query, best first.",
    ),
    Endpoint(operation=ops.LIST_AGENTS, shape=answers.Agents),
    Endpoint(operation=ops.GET_AGENT, shape=answers.AgentOut),
    Endpoint(operation=ops.PUT_AGENT, body=body_of(PutAgentRequest, "AgentSettings"), shape=answers.AgentOut),
    Endpoint(operation=ops.DELETE_AGENT),
    Endpoint(operation=ops.SEARCH_MEMORIES, body=_SEARCH, shape=answers.Matches),
    Endpoint(
        operation=ops.ASK,
        body=body_of(AskRequest, "AskRequest", stream=(bool, False)),
        shape=answers.AnswerOut,
        responses=_EVENTS,
        show=_ask,
        doc="Answer a question from memories, as JSON or, with `stream` or `Accept: text/event-stream`, piece by "
        "piece.\n\nThe events are `sources` (once), `text` (many), and `done` or `error`.",
    ),
)

for each in ENDPOINTS:
    add_endpoint(router, each)
