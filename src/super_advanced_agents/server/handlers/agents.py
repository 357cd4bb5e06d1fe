"""Handlers of requests about agents, their memories (stored texts) and their settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sized
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.agents.answers import LocalAskOptions
from super_advanced_agents.agents.chatting import turns_of
from super_advanced_agents.agents.prompt import checked_history, checked_instructions, search_query
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.protocol.requests import (
    AskRequest,
    ChatRequest,
    CountMemoriesRequest,
    DeleteAgentRequest,
    ForgetRequest,
    GetAgentRequest,
    GetMemoryRequest,
    ListAgentsRequest,
    ListMemoriesRequest,
    PutAgentRequest,
    RelocateMemoriesRequest,
    RememberRequest,
    RememberTurnsRequest,
    SearchMemoriesRequest,
    UpdateMemoryRequest,
)
from super_advanced_agents.retrieval import Reranker
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.server.handlers.error_mapping import rename_error_fields
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.reranking import chosen_reranker, reranks
from super_advanced_agents.types import AgentInfo, Answer, AnswerEvent, Match, Record

TURNS_OF_A_CHAT = 2
"""The memories of one exchange, which are charged before it."""


_FEW_RELOCATED = 64


def _agent(context: HandlerContext) -> AsyncLLMAgent:
    return context.workspace.agent(context.target) if context.target else context.workspace.default_agent


def _check_batch(items: Sized, field: str) -> None:
    if len(items) > LIMITS.batch_records:
        raise InvalidInputError(
            f"{field} has {len(items)} entries, the limit of one batch is {LIMITS.batch_records}",
            field=field,
            hint="send several batches",
        )


# -- memories ---------------------------------------------------------------------------------------------------------


async def remember(request: RememberRequest, context: HandlerContext) -> list[str]:
    """Store a memory (a text), a list of them or a conversation, durably before responding."""
    agent = _agent(context)
    _check_batch(request.memories, "memories")
    await context.charge(request)
    with rename_error_fields("memories"):
        return await agent.aadd_text_memories(request.memories, dedupe=request.dedupe)


async def remember_turns(request: RememberTurnsRequest, context: HandlerContext) -> list[str]:
    """Store each turn of a conversation as a memory, durably before the response is sent."""
    agent = _agent(context)
    _check_batch(request.turns, "turns")
    await context.charge(request)
    with rename_error_fields("turns"):
        return await agent.aadd_turns(request.turns, session=request.session)


async def update_memory(request: UpdateMemoryRequest, context: HandlerContext) -> bool:
    """Change one memory in place; fields that the request leaves out keep their values."""
    agent = _agent(context)
    await context.charge(request)
    with rename_error_fields():
        return await agent.aupdate_memory(
            request.uid,
            text=request.text,
            memory_type=request.memory_type,
            extra=request.extra,
            source=request.source,
            expires_in_s=request.expires_in_s,
            priority=request.priority,
        )


async def relocate_memories(request: RelocateMemoriesRequest, context: HandlerContext) -> int:
    """Change where memories stand, or the order of a session's turns; texts and vectors stay."""
    agent = _agent(context)
    _check_batch([*request.memories, *request.order], "memories")
    await context.charge(request)
    await context.request_context.charge(len(request.order))
    reservation = context.request_context.reservation
    if reservation is not None and len(request.memories) + len(request.order) > _FEW_RELOCATED:
        await reservation.acquire()  # the memories that move are read and written as a whole
    with rename_error_fields("memories"):
        try:
            return await agent.arelocate_memories(request.memories, order=request.order)
        except InvalidInputError as exc:
            # A repeated request: it was carried out, and another caller has changed a memory since.
            if exc.field != "write_id":
                raise
            return len(request.memories)


async def search_memories(request: SearchMemoriesRequest, context: HandlerContext) -> list[Match]:
    """Return the agent's memories that match a query, best first."""
    agent = _agent(context)
    rerank = await _reranker(request, context)
    with rename_error_fields():
        search = partial(_search, agent, request.query, request, rerank, explain=request.explain)
        return await context.read(search)


async def _search(
    agent: AsyncLLMAgent,
    text: str,
    request: SearchMemoriesRequest | AskRequest,
    rerank: bool | Reranker | None,
    *,
    explain: bool = False,
) -> list[Match]:
    return await agent.asearch_text(
        text,
        request.top_k,
        request.memory_type,
        where=request.where,
        mode=request.mode,
        weights=request.weights,
        explain=explain,
        rerank=rerank,
        min_similarity=request.min_similarity,
    )


async def _reranker(request: SearchMemoriesRequest | AskRequest, context: HandlerContext) -> bool | Reranker | None:
    # A search that the language model re-ranks holds no permit of searches; its tokens are charged to the caller.
    name = context.agent_name
    reranker = await chosen_reranker(request.rerank, name, context.workspace, context.request_context)
    if reranks(request.rerank, name, context.workspace):
        await context.work_as(PermitKind.GENERATE)
    return reranker


async def get_memory(request: GetMemoryRequest, context: HandlerContext) -> Record | None:
    """Return the memory with the given uid (unique id); the status is 404 if there is none."""
    record = await _agent(context).aget(request.uid)
    return None if record is None else _without_place(record)


async def list_memories(request: ListMemoriesRequest, context: HandlerContext) -> list[Record]:
    """Return one page of the agent's memories that match a filter, ordered by uid (unique id)."""
    scan = partial(_agent(context).ascan, request.where, after=request.after, limit=request.limit)
    page = await context.read(scan)
    return [_without_place(record) for record in page]


def _without_place(record: Record) -> Record:
    # Positions are numbered over the store that all tenants share, so a position would reveal how much others write.
    return replace(record, place=None)


async def forget(request: ForgetRequest, context: HandlerContext) -> int:
    """Delete memories by uid, by filter, or those that meet both, durably before responding."""
    return await _agent(context).aforget(request.uids, where=request.where)


async def count_memories(request: CountMemoriesRequest, context: HandlerContext) -> int:
    """Count the agent's memories that match a metadata filter."""
    return await _agent(context).acount(request.where)


# -- answers ----------------------------------------------------------------------------------------------------------


async def ask(request: AskRequest, context: HandlerContext) -> Answer:
    """Answer a question with the language model, from the agent's memories."""
    agent = await _charged_agent(request, context)
    return await agent.aask(request.question, **await _options(agent, request, context))


async def ask_stream(request: AskRequest, context: HandlerContext) -> AsyncGenerator[AnswerEvent, None]:
    """Answer a question: yield the memories used, then the answer in pieces, then all of it."""
    agent = await _charged_agent(request, context)
    options = await _options(agent, request, context)
    async with aclosing(agent.aask_events(request.question, **options)) as events:
        async for event in events:
            yield event


async def chat(request: ChatRequest, context: HandlerContext) -> Answer:
    """Answer a message of a conversation, and store both turns durably before responding.

    With `remember`, the credential needs the scope `memories:write` too.
    """
    agent = await _chatting_agent(request, context)
    answer = await agent.achat(**{**_chat_arguments(request), "remember": False})
    if request.remember:
        try:
            await agent.aadd_turns(turns_of(request.message, answer.text), session=request.session)
        except InvalidInputError as exc:
            # A repeated request: its first exchange is remembered, and now the model may have chosen other words.
            if exc.field != "write_id":
                raise
    return answer


async def chat_stream(request: ChatRequest, context: HandlerContext) -> AsyncGenerator[AnswerEvent, None]:
    """Answer a message: yield the memories used, then the answer in pieces, then all of it."""
    agent = await _chatting_agent(request, context)
    async with aclosing(agent.achat_events(**_chat_arguments(request))) as events:
        async for event in events:
            yield event


async def _chatting_agent(request: ChatRequest, context: HandlerContext) -> AsyncLLMAgent:
    if request.remember:
        context.request_context.principal.require(Access.WRITE)
        await context.request_context.charge(TURNS_OF_A_CHAT)
    return await _charged_agent(request, context)


def _chat_arguments(request: ChatRequest) -> dict[str, Any]:
    return {name: value for name, value in asdict(request).items() if name != "answer_tokens"}


async def _charged_agent(request: AskRequest | ChatRequest, context: HandlerContext) -> AsyncLLMAgent:
    tokens = request.answer_tokens
    if tokens is not None and not 1 <= tokens <= LIMITS.answer_tokens:
        raise InvalidInputError(
            f"answer_tokens must be from 1 to {LIMITS.answer_tokens}, not {tokens}", field="answer_tokens"
        )
    agent = context.workspace.agent(context.agent_name, answer_tokens=tokens)
    await context.charge(request)
    return agent


async def _options(agent: AsyncLLMAgent, request: AskRequest, context: HandlerContext) -> LocalAskOptions:
    rerank = await _reranker(request, context)
    with rename_error_fields(question="question"):
        checked_instructions(request.instructions)  # nothing is searched for a request that will be refused
        query = search_query(request.question, checked_history(request.history))
        sources = await context.read(partial(_search, agent, query, request, rerank))
    return LocalAskOptions(sources=sources, instructions=request.instructions, history=request.history, llm=request.llm)


# -- settings ---------------------------------------------------------------------------------------------------------


async def list_agents(request: ListAgentsRequest, context: HandlerContext) -> list[AgentInfo]:
    """List the agents with settings or memories, sorted by name. Any other agent has default settings."""
    del request
    return await context.workspace.aagents()


async def get_agent(request: GetAgentRequest, context: HandlerContext) -> AgentInfo:
    """Return an agent's stored settings; the status is 404 if it has none and uses the defaults."""
    del request
    return await context.workspace.aagent_info(context.target)


async def put_agent(request: PutAgentRequest, context: HandlerContext) -> AgentInfo:
    """Replace the settings of an agent, durably before the response is sent."""
    try:
        settings = AgentSettings(**{name: value for name, value in asdict(request).items() if value is not None})
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise InvalidInputError(f"{field}: {first['msg']}", field=field) from None  # the cause repeats the values
    return await context.workspace.aput_agent(context.target, settings)


async def delete_agent(request: DeleteAgentRequest, context: HandlerContext) -> None:
    """Delete an agent's settings, but not its memories; the status is 404 if none are stored."""
    del request
    if not await context.workspace.adelete_agent(context.target):
        raise AgentNotFoundError(f"the agent {context.target!r} has no settings", hint="it uses the defaults")


HANDLERS: dict[str, Handler] = {
    ops.REMEMBER.name: remember,
    ops.REMEMBER_TURNS.name: remember_turns,
    ops.UPDATE_MEMORY.name: update_memory,
    ops.RELOCATE_MEMORIES.name: relocate_memories,
    ops.SEARCH_MEMORIES.name: search_memories,
    ops.DEFAULT_SEARCH.name: search_memories,
    ops.GET_MEMORY.name: get_memory,
    ops.SCAN_MEMORIES.name: list_memories,
    ops.LIST_MEMORIES.name: list_memories,
    ops.FORGET.name: forget,
    ops.FORGET_ONE.name: forget,
    ops.COUNT_MEMORIES.name: count_memories,
    ops.COUNT_ALL_MEMORIES.name: count_memories,
    ops.ASK.name: ask,
    ops.AGENT_CHAT.name: chat,
    ops.LIST_AGENTS.name: list_agents,
    ops.GET_AGENT.name: get_agent,
    ops.PUT_AGENT.name: put_agent,
    ops.DELETE_AGENT.name: delete_agent,
}
"""The handlers by the name of their operation."""
