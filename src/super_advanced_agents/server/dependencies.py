"""What routes ask for by type."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.gate import Gate
from super_advanced_agents.tenancy.context import Call, current_call
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.tenancy.runtime import Engines
from super_advanced_agents.tenancy.workspace import Workspace


async def _gate(request: Request) -> Gate:
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


TheGate = Annotated[Gate, Depends(_gate)]
"""What every call passes, and whether the server is being stopped."""


async def _engines(gate: TheGate) -> Engines:
    return gate.engines


TheEngines = Annotated[Engines, Depends(_engines)]
"""The engines of this process: for routes that are nobody's in particular, such as `/readyz`."""


async def _call(request: Request) -> Call:
    call = current_call()
    cache_control = request.headers.get("cache-control")
    if cache_control is not None and asks_for_fresh(cache_control):
        call.notes[NO_CACHE] = True
    return call


TheCall = Annotated[Call, Depends(_call)]
"""Who calls, and what the call may cost."""


async def _workspace(gate: TheGate, call: TheCall) -> Workspace:
    return gate.workspaces.of(call.principal.tenant)


TheWorkspace = Annotated[Workspace, Depends(_workspace)]
"""What the caller's tenant has."""


async def _agent(workspace: TheWorkspace, agent: Annotated[str, Path()]) -> AsyncLLMAgent:
    return workspace.agent(agent)


TheAgent = Annotated[AsyncLLMAgent, Depends(_agent)]
"""The agent that the path names, of the caller's tenant."""
