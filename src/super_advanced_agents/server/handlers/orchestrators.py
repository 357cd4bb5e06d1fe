"""Handlers of requests to orchestrators, which put a question to several agents.

Unless it is declared otherwise, the orchestrator named `default` has every agent of the tenant.
"""

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
    OrchestrationRequest,
    OrchestratorInfo,
    ParallelRequest,
    RouteRequest,
    SuperviseRequest,
)
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.tenancy.orchestrators import DEFAULT_ORCHESTRATOR
from super_advanced_agents.types import JSONValue


def _orchestrator(context: HandlerContext, agent_names: Iterable[str] = ()) -> Orchestrator:
    return context.workspace.orchestrator(context.target or DEFAULT_ORCHESTRATOR, list(agent_names))


def _options(question: OrchestrationRequest) -> dict[str, Any]:
    return {"top_k": question.top_k, "timeout_s": question.timeout_s, "deadline_s": question.deadline_s}


async def route(request: RouteRequest, context: HandlerContext) -> Outcome:
    """Ask the one agent that fits best, chosen by task, user id or the agents' descriptions."""
    return await _orchestrator(context).aroute(request.query, request.task, request.user_id, **_options(request))


async def chain(request: ChainRequest, context: HandlerContext) -> Outcome:
    """Ask agents one after another; each gets the question and the previous agent's answer."""
    return await _orchestrator(context, request.names).achain(request.query, list(request.names), **_options(request))


async def fallback(request: FallbackRequest, context: HandlerContext) -> Outcome:
    """Ask the primary agent, then the backup agents in order until one of them answers."""
    orchestrator = _orchestrator(context, [request.primary, *request.backups])
    return await orchestrator.afallback(request.query, request.primary, list(request.backups), **_options(request))


async def parallel(request: ParallelRequest, context: HandlerContext) -> Outcome:
    """Ask several agents concurrently, wait for one, some or all answers, and cancel the rest."""
    names = list(request.names or ()) or None
    wait = request.wait if request.quorum is None else request.quorum
    return await _orchestrator(context, names or ()).aparallel(request.query, names, wait=wait, **_options(request))


async def collaborate(request: CollaborateRequest, context: HandlerContext) -> Outcome:
    """Ask several agents, and settle on an answer by majority, a critic's choice or consensus."""
    names = request.names if request.critic is None else [*request.names, request.critic]
    return await _orchestrator(context, names).acollaborate(
        request.query,
        list(request.names),
        request.voting,
        critic=request.critic,
        max_rounds=request.max_rounds,
        **_options(request),
    )


async def supervise(request: SuperviseRequest, context: HandlerContext) -> dict[str, JSONValue]:
    """Return each agent's health, request counts and latencies since the server started."""
    del request
    return await _orchestrator(context).asupervise()


async def list_orchestrators(request: ListOrchestratorsRequest, context: HandlerContext) -> list[OrchestratorInfo]:
    """List the tenant's orchestrators (named groups of agents), with the names of their agents."""
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
"""The handlers by the name of their operation."""
