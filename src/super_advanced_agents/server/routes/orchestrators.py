"""Several agents behind one question: `/v1/orchestrators/...`. One called `default` has every agent of the tenant."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response

from super_advanced_agents.orchestration import Outcome
from super_advanced_agents.server.access import needs
from super_advanced_agents.server.dependencies import TheWorkspace
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.json_requests import JSONRoute, json_response
from super_advanced_agents.server.schemas_orchestrators import (
    ChainIn,
    CollaborateIn,
    FallbackIn,
    OrchestratorOut,
    OrchestratorsOut,
    OutcomeOut,
    ParallelIn,
    RouteIn,
    Supervision,
    outcome_out,
)
from super_advanced_agents.tenancy.context import Access

router = APIRouter(prefix="/v1/orchestrators", tags=["orchestrators"], route_class=JSONRoute)


@router.get("", **needs(Access.READ))
async def list_orchestrators(workspace: TheWorkspace) -> OrchestratorsOut:
    """The orchestrators there are, by name, with the names of their agents."""
    return OrchestratorsOut.model_construct(
        orchestrators=[
            OrchestratorOut.model_construct(name=name, agents=list(workspace.orchestrator(name).agents))
            for name in workspace.orchestrators
        ]
    )


@router.get("/{orchestrator}", response_model=Supervision, **needs(Access.READ))
async def supervise(orchestrator: str, workspace: TheWorkspace) -> Response:
    """Health, counts and latencies of every agent, since the server began."""
    return json_response(await workspace.orchestrator(orchestrator).asupervise())


@router.post("/{orchestrator}/route", response_model=OutcomeOut, **needs(Access.GENERATE))
async def route(orchestrator: str, body: RouteIn, workspace: TheWorkspace, request: Request) -> Response:
    """Ask the one agent that fits best: by task, by user, by what the agents say they do."""
    asked = workspace.orchestrator(orchestrator)
    return await _outcome(request, asked.aroute(body.query, body.task, body.user_id, **body.options()))


@router.post("/{orchestrator}/chain", response_model=OutcomeOut, **needs(Access.GENERATE))
async def chain(orchestrator: str, body: ChainIn, workspace: TheWorkspace, request: Request) -> Response:
    """Ask agents one after another; each is shown the question and what the one before it said."""
    asked = workspace.orchestrator(orchestrator, body.names)
    return await _outcome(request, asked.achain(body.query, body.names, **body.options()))


@router.post("/{orchestrator}/fallback", response_model=OutcomeOut, **needs(Access.GENERATE))
async def fallback(orchestrator: str, body: FallbackIn, workspace: TheWorkspace, request: Request) -> Response:
    """Ask one agent, and the next only if it fails, is late, or knows nothing."""
    backups = [body.backup] if isinstance(body.backup, str) else body.backup
    asked = workspace.orchestrator(orchestrator, [body.primary, *backups])
    return await _outcome(request, asked.afallback(body.query, body.primary, body.backup, **body.options()))


@router.post("/{orchestrator}/parallel", response_model=OutcomeOut, **needs(Access.GENERATE))
async def parallel(orchestrator: str, body: ParallelIn, workspace: TheWorkspace, request: Request) -> Response:
    """Ask several agents at once; who is not waited for is cancelled."""
    asked = workspace.orchestrator(orchestrator, body.names or [])
    return await _outcome(request, asked.aparallel(body.query, body.names, wait=body.wait, **body.options()))


@router.post("/{orchestrator}/collaborate", response_model=OutcomeOut, **needs(Access.GENERATE))
async def collaborate(orchestrator: str, body: CollaborateIn, workspace: TheWorkspace, request: Request) -> Response:
    """Ask several agents and make one answer of theirs: by majority, by a critic's choice, or by rounds of talk."""
    named = body.names if body.critic is None else [*body.names, body.critic]
    asked = workspace.orchestrator(orchestrator, named)
    return await _outcome(request, asked.acollaborate(body.query, body.names, body.voting, **body.voting_options()))


async def _outcome(request: Request, asking: Coroutine[Any, Any, Outcome]) -> Response:
    return json_response(outcome_out(await while_connected(request.receive, asking)))
