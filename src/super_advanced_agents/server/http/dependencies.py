"""What routes ask for by type, and what endpoints read off a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from super_advanced_agents.server.services import Gate
from super_advanced_agents.tenancy.context import Call, current_call
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.tenancy.runtime import Engines
from super_advanced_agents.tenancy.workspace import Workspace


def gate_of(request: Request) -> Gate:
    """Return what every call of the application passes."""
    gate = request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def call_of(request: Request) -> Call:
    """Return who calls; a call that asks for fresh results is marked."""
    call = current_call()
    cache_control = request.headers.get("cache-control")
    if cache_control is not None and asks_for_fresh(cache_control):
        call.notes[NO_CACHE] = True
    return call


async def _gate(request: Request) -> Gate:
    return gate_of(request)


TheGate = Annotated[Gate, Depends(_gate)]
"""What every call passes, and whether the server is being stopped."""


async def _engines(gate: TheGate) -> Engines:
    return gate.engines


TheEngines = Annotated[Engines, Depends(_engines)]
"""The engines of this process: for routes that are nobody's in particular, such as `/readyz`."""


async def _call(request: Request) -> Call:
    return call_of(request)


TheCall = Annotated[Call, Depends(_call)]
"""Who calls, and what the call may cost."""


async def _workspace(gate: TheGate, call: TheCall) -> Workspace:
    return gate.workspaces.of(call.principal.tenant)


TheWorkspace = Annotated[Workspace, Depends(_workspace)]
"""What the caller's tenant has."""
