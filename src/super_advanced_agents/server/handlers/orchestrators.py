"""Answers of operations on orchestrators; one called `default` has every agent of the tenant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from super_advanced_agents.orchestration import Orchestrator, Outcome
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.requests import (
    ChainRequest,
    CollaborateRequest,
    FallbackRequest,
    ListOrchestratorsRequest,
    OrchestratorInfo,
    ParallelRequest,
    Question,
    RouteRequest,
    SuperviseRequest,
)
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.tenancy.orchestrators import DEFAULT_ORCHESTRATOR
from super_advanced_agents.types import JSONValue


def _asked(context: HandlerContext, named: Iterable[str] = ()) -> Orchestrator:
    return context.workspace.orchestrator(context.target or DEFAULT_ORCHESTRATOR, list(named))


def _options(question: Question) -> dict[str, Any]:
    return {"top_k": question.top_k, "timeout_s": question.timeout_s, "deadline_s": question.deadline_s}


async def route(request: RouteRequest, context: HandlerContext) -> Outcome:
    """Ask the one agent that fits best: by task, by user, by what the agents say they do."""
    return await _asked(context).aroute(request.query, request.task, request.user_id, **_options(request))


async def chain(request: ChainRequest, context: HandlerContext) -> Outcome:
    """Ask agents one after another; each is shown the question and what the one before it said."""
    return await _asked(context, request.names).achain(request.query, list(request.names), **_options(request))


async def fallback(request: FallbackRequest, context: HandlerContext) -> Outcome:
    """Ask one agent, and the next only if it fails, is late, or knows nothing."""
    asked = _asked(context, [request.primary, *request.backups])
    return await asked.afallback(request.query, request.primary, list(request.backups), **_options(request))


async def parallel(request: ParallelRequest, context: HandlerContext) -> Outcome:
    """Ask several agents at once; who is not waited for is cancelled."""
    names = list(request.names or ()) or None
    wait = request.wait if request.quorum is None else request.quorum
    return await _asked(context, names or ()).aparallel(request.query, names, wait=wait, **_options(request))


async def collaborate(request: CollaborateRequest, context: HandlerContext) -> Outcome:
    """Ask several agents and make one answer of theirs: by majority, by a critic's choice, or by rounds of talk."""
    named = request.names if request.critic is None else [*request.names, request.critic]
    return await _asked(context, named).acollaborate(
        request.query,
        list(request.names),
        request.voting,
        critic=request.critic,
        max_rounds=request.max_rounds,
        **_options(request),
    )


async def supervise(request: SuperviseRequest, context: HandlerContext) -> dict[str, JSONValue]:
    """Health, counts and latencies of every agent, since the server began."""
    del request
    return await _asked(context).asupervise()


async def list_orchestrators(request: ListOrchestratorsRequest, context: HandlerContext) -> list[OrchestratorInfo]:
    """The orchestrators there are, by name, with the names of their agents."""
    del request
    workspace = context.workspace
    return [
        OrchestratorInfo(name=name, agents=list(workspace.orchestrator(name).agents))
        for name in workspace.orchestrators
    ]


HANDLERS: dict[str, Handler] = {
    ops.ROUTE.name: route,
    ops.CHAIN.name: chain,
    ops.FALLBACK.name: fallback,
    ops.PARALLEL.name: parallel,
    ops.COLLABORATE.name: collaborate,
    ops.SUPERVISE.name: supervise,
    ops.LIST_ORCHESTRATORS.name: list_orchestrators,
}
"""By the operation's name."""
