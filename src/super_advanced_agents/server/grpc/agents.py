"""`AgentService`: agents and their memories, as `routes.agents` and `routes.memories` serve them over REST."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import (
    agent_message,
    answer_message,
    dedupe_of,
    json_object,
    match_messages,
    memory_of,
    record_message,
    turn_of,
    weights_of,
)
from super_advanced_agents.protocol.serving import changed, filter_of, limit_of, named, top_k_of
from super_advanced_agents.protocol.v1 import agents_pb2 as messages
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.server.grpc.rpcs import Rpc
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.context import current_call
from super_advanced_agents.tenancy.reranking import chosen_reranker
from super_advanced_agents.tenancy.workspace import Workspace

_BATCH = LIMITS.batch_records
_MODES = {
    messages.SEARCH_MODE_UNSPECIFIED: "hybrid",
    messages.SEARCH_MODE_HYBRID: "hybrid",
    messages.SEARCH_MODE_VECTOR: "vector",
    messages.SEARCH_MODE_KEYWORD: "keyword",
}


def _agent(request: Any, workspace: Workspace) -> AsyncLLMAgent:
    return workspace.agent(request.agent) if request.agent else workspace.default_agent


async def _remember(request: messages.RememberRequest, workspace: Workspace) -> messages.RememberResponse:
    agent = _agent(request, workspace)
    _check_batch(len(request.memories), "memories")
    dedupe = dedupe_of(request.dedupe)
    memories = [memory_of(each, field=f"memories[{i}]") for i, each in enumerate(request.memories)]
    await current_call().charge(len(memories))
    with fields_of("memories"):
        return messages.RememberResponse(uids=await agent.aadd_text_memories(memories, dedupe=dedupe))


async def _remember_turns(request: messages.RememberTurnsRequest, workspace: Workspace) -> messages.RememberResponse:
    agent = _agent(request, workspace)
    _check_batch(len(request.turns), "turns")
    turns = [turn_of(each, field=f"turns[{i}]") for i, each in enumerate(request.turns)]
    await current_call().charge(len(turns))
    with fields_of("turns"):
        uids = await agent.aadd_turns(turns, session=request.session if request.HasField("session") else None)
        return messages.RememberResponse(uids=uids)


def _check_batch(n: int, field: str) -> None:
    if n > _BATCH:
        raise InvalidInputError(
            f"{field} has {n} entries, the limit of one batch is {_BATCH}", field=field, hint="send several batches"
        )


async def _update(request: messages.UpdateMemoryRequest, workspace: Workspace) -> messages.UpdateMemoryResponse:
    agent, has = _agent(request, workspace), request.HasField
    extra = json_object(request.extra, field="extra") if has("extra") else None
    changes = changed(request, request.clear)
    if has("text"):
        await current_call().charge(1)
    with fields_of():
        updated = await agent.aupdate_memory(
            request.uid,
            text=request.text if has("text") else None,
            memory_type=request.memory_type if has("memory_type") else None,
            extra=extra,
            **changes,
        )
    return messages.UpdateMemoryResponse(updated=updated)


def _finding(request: messages.SearchMemoriesRequest | messages.AskRequest) -> dict[str, Any]:
    """Arguments of `asearch_text` that both have, but for `rerank`."""
    mode = _MODES.get(request.mode)
    if mode is None:
        raise InvalidInputError(f"mode has no meaning {int(request.mode)}", field="mode")
    return {
        "top_k": top_k_of(request),
        "mode": mode,
        "where": filter_of(request),
        "memory_type": request.memory_type if request.HasField("memory_type") else None,
        "weights": weights_of(request.weights) if request.HasField("weights") else None,
    }


async def _rerank(request: Any, agent: AsyncLLMAgent, workspace: Workspace) -> Any:
    asked = request.rerank if request.HasField("rerank") else None
    return await chosen_reranker(asked, agent.name, workspace, current_call())


async def _search(request: messages.SearchMemoriesRequest, workspace: Workspace) -> messages.SearchMemoriesResponse:
    agent, options = _agent(request, workspace), _finding(request)
    rerank = await _rerank(request, agent, workspace)
    with fields_of():
        found = await agent.asearch_text(request.query, explain=request.explain, rerank=rerank, **options)
    return messages.SearchMemoriesResponse(matches=match_messages(found))


async def _get(request: messages.GetMemoryRequest, workspace: Workspace) -> messages.GetMemoryResponse:
    record = await _agent(request, workspace).aget(request.uid)
    return messages.GetMemoryResponse(memory=None if record is None else record_message(record, vector=False))


async def _list(request: messages.ListMemoriesRequest, workspace: Workspace) -> messages.ListMemoriesResponse:
    page = await _agent(request, workspace).ascan(
        filter_of(request), after=request.after if request.HasField("after") else None, limit=limit_of(request)
    )
    return messages.ListMemoriesResponse(memories=[record_message(record, vector=False) for record in page])


async def _forget(request: messages.ForgetRequest, workspace: Workspace) -> messages.ForgetResponse:
    forgotten = await _agent(request, workspace).aforget(named(request), where=filter_of(request))
    return messages.ForgetResponse(forgotten=forgotten)


async def _count(request: messages.CountMemoriesRequest, workspace: Workspace) -> messages.CountMemoriesResponse:
    return messages.CountMemoriesResponse(count=await _agent(request, workspace).acount(filter_of(request)))


async def _asked(request: messages.AskRequest, workspace: Workspace) -> tuple[AsyncLLMAgent, dict[str, Any]]:
    """Who answers, and how it finds what it answers from; charged for."""
    tokens = request.answer_tokens if request.HasField("answer_tokens") else None
    if tokens is not None and not 1 <= tokens <= LIMITS.answer_tokens:
        raise InvalidInputError(
            f"answer_tokens must be from 1 to {LIMITS.answer_tokens}, not {tokens}", field="answer_tokens"
        )
    name = _agent(request, workspace).name
    options = _finding(request)
    agent = workspace.agent(name, answer_tokens=tokens)
    await current_call().charge(tokens or workspace.agent_settings(name).answer_tokens)
    return agent, {**options, "rerank": await _rerank(request, agent, workspace)}


async def _ask(request: messages.AskRequest, workspace: Workspace) -> messages.Answer:
    agent, options = await _asked(request, workspace)
    with fields_of(question="question"):
        sources = await agent.asearch_text(request.question, **options)
    return answer_message(await agent.aask(request.question, sources=sources))


async def _ask_stream(request: messages.AskRequest, workspace: Workspace) -> AsyncGenerator[messages.AskEvent, None]:
    agent, options = await _asked(request, workspace)
    with fields_of(question="question"):
        sources = await agent.asearch_text(request.question, **options)
    yield messages.AskEvent(sources=shared.Matches(matches=match_messages(sources)))
    said: list[str] = []
    async with aclosing(agent.astream_answer(request.question, sources=sources)) as pieces:
        async for piece in pieces:
            said.append(piece)
            yield messages.AskEvent(text=piece)
    yield messages.AskEvent(done="".join(said).strip())


async def _list_agents(request: messages.ListAgentsRequest, workspace: Workspace) -> messages.ListAgentsResponse:
    del request
    return messages.ListAgentsResponse(agents=[agent_message(info) for info in await workspace.aagents()])


async def _get_agent(request: messages.GetAgentRequest, workspace: Workspace) -> messages.Agent:
    return agent_message(await workspace.aagent_info(request.name))


async def _put_agent(request: messages.PutAgentRequest, workspace: Workspace) -> messages.Agent:
    given = {name: getattr(request, name) for name in AgentSettings.model_fields if request.HasField(name)}
    try:
        settings = AgentSettings(**given)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise InvalidInputError(f"{field}: {first['msg']}", field=field) from None  # the cause holds what was sent
    return agent_message(await workspace.aput_agent(request.name, settings))


async def _delete_agent(request: messages.DeleteAgentRequest, workspace: Workspace) -> messages.DeleteAgentResponse:
    if not await workspace.adelete_agent(request.name):
        raise AgentNotFoundError(f"the agent {request.name!r} has no settings", hint="it works all the same")
    return messages.DeleteAgentResponse()


RPCS = (
    Rpc(methods.REMEMBER, _remember),
    Rpc(methods.REMEMBER_TURNS, _remember_turns),
    Rpc(methods.UPDATE_MEMORY, _update),
    Rpc(methods.SEARCH_MEMORIES, _search),
    Rpc(methods.GET_MEMORY, _get),
    Rpc(methods.LIST_MEMORIES, _list),
    Rpc(methods.FORGET, _forget),
    Rpc(methods.COUNT_MEMORIES, _count),
    Rpc(methods.ASK, _ask),
    Rpc(methods.ASK_STREAM, _ask_stream),
    Rpc(methods.LIST_AGENTS, _list_agents),
    Rpc(methods.GET_AGENT, _get_agent),
    Rpc(methods.PUT_AGENT, _put_agent),
    Rpc(methods.DELETE_AGENT, _delete_agent),
)
"""The service's methods."""
