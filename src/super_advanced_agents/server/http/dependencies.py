"""What routes ask for by type, and what endpoints read off a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import RequestContext, current_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace


def services_of(request: Request) -> Services:
    """Return what every call of the application passes."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def context_of(request: Request) -> RequestContext:
    """Return who calls; a call that asks for fresh results is marked."""
    context = current_context()
    cache_control = request.headers.get("cache-control")
    if cache_control is not None and asks_for_fresh(cache_control):
        context.notes[NO_CACHE] = True
    return context


async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
"""What every call passes, and whether the server is being stopped."""


async def _runtime(services: ServicesDep) -> Runtime:
    return services.runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]
"""The engines of this process: for routes that are nobody's in particular, such as `/readyz`."""


async def _context(request: Request) -> RequestContext:
    return context_of(request)


ContextDep = Annotated[RequestContext, Depends(_context)]
"""Who calls, and what the call may cost."""


async def _workspace(services: ServicesDep, context: ContextDep) -> Workspace:
    return services.workspaces.of(context.principal.tenant)


WorkspaceDep = Annotated[Workspace, Depends(_workspace)]
"""What the caller's tenant has."""
