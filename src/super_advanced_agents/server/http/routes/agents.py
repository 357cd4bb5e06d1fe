"""Routes of agents: their settings, memory searches and answers (`/v1/agents/...`).

Every valid name is an agent, without being created first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.protocol.requests import AskRequest, ChatRequest, PutAgentRequest, SearchMemoriesRequest
from super_advanced_agents.server.handlers.agents import ask_stream, chat_stream
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import Endpoint, ParsedRequest, add_endpoint, handle
from super_advanced_agents.server.http.schemas import results
from super_advanced_agents.server.http.schemas.bodies import body_of
from super_advanced_agents.server.http.schemas.streams import ASK_STREAM
from super_advanced_agents.server.http.streaming.sse import MEDIA_TYPE, EventStream, event
from super_advanced_agents.types import JSONValue

router = APIRouter(tags=["agents"], route_class=JSONRoute)

_EVENTS: dict[int | str, dict[str, Any]] = {HTTPStatus.OK.value: {"content": {MEDIA_TYPE: ASK_STREAM}}}

_STREAMED = (
    "The response is JSON, or with `stream` or `Accept: text/event-stream` a stream of events: `sources` (once), "
    "`text` (repeated), then `done` or `error`."
)


async def _answer(parsed: ParsedRequest) -> Any:
    if not parsed.body.stream and MEDIA_TYPE not in parsed.request.headers.get("accept", ""):
        return await handle(parsed)
    # Two events ahead: an error before the first piece of text then sets the status instead of ending a 200.
    return await EventStream.start(_events(parsed), parsed.request.receive, ahead=2)


async def _events(parsed: ParsedRequest) -> AsyncGenerator[bytes, None]:
    request = parsed.body.build()
    answer = chat_stream if isinstance(request, ChatRequest) else ask_stream
    async with aclosing(answer(request, parsed.context)) as events:
        async for part in events:
            if part.sources is not None:
                yield event("sources", {"results": json_of_result(part.sources)})
            elif part.done is None:
                yield event("text", {"text": part.text})
            else:
                checked: dict[str, JSONValue] = {"grounded": part.grounded, "unsupported": list(part.unsupported)}
                yield event("done", {"text": part.done, **checked, "quoted": part.quoted})


_SEARCH = body_of(SearchMemoriesRequest, "SearchRequest")

ENDPOINTS = (
    Endpoint(
        operation=ops.DEFAULT_SEARCH,
        body=_SEARCH,
        response_model=results.Matches,
        description="Find the default agent's memories that are most similar to the query, best first.",
    ),
    Endpoint(operation=ops.LIST_AGENTS, response_model=results.Agents),
    Endpoint(operation=ops.GET_AGENT, response_model=results.AgentOut),
    Endpoint(operation=ops.PUT_AGENT, body=body_of(PutAgentRequest, "AgentSettings"), response_model=results.AgentOut),
    Endpoint(operation=ops.DELETE_AGENT),
    Endpoint(operation=ops.SEARCH_MEMORIES, body=_SEARCH, response_model=results.Matches),
    Endpoint(
        operation=ops.ASK,
        body=body_of(AskRequest, "AskRequest", stream=(bool, False)),
        response_model=results.AnswerOut,
        responses=_EVENTS,
        handler=_answer,
        description=f"Answer a question from an agent's memories.\n\n{_STREAMED}",
    ),
    Endpoint(
        operation=ops.AGENT_CHAT,
        body=body_of(ChatRequest, "ChatRequest", stream=(bool, False)),
        response_model=results.AnswerOut,
        responses=_EVENTS,
        handler=_answer,
        description="Answer a message of a conversation from its history and from memories, and remember both turns "
        f"(which needs the scope `memories:write`).\n\n{_STREAMED}",
    ),
)

for endpoint in ENDPOINTS:
    add_endpoint(router, endpoint)
