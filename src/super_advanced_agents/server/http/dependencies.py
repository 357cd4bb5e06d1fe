"""FastAPI dependencies of routes: the shared services, and the caller's context and data."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import RequestContext, current_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace

T = TypeVar("T")


def services_of(request: Request) -> Services:
    """Return the `Services`, such as the store and the rate limits, that all requests share."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def context_of(request: Request) -> RequestContext:
    """Return the request's context (caller and rate limits); note a `no-cache` header in it."""
    context = current_context()
    cache_control = request.headers.get("cache-control")
    if cache_control is not None and asks_for_fresh(cache_control):
        context.notes[NO_CACHE] = True
    return context


def in_slices(request: Request, work: Generator[None, None, T]) -> Future[T]:
    """Run a long computation for a request off the event loop, alternating with other tenants.

    Raises:
        OverloadedError: too many computations are unfinished.
    """
    return services_of(request).conversions.submit(work, owner=current_context().principal.tenant)


async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
"""The objects that the server's requests share, and whether the server is stopping."""


async def _runtime(services: ServicesDep) -> Runtime:
    return services.runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]
"""The store and the models of this process: for routes without a tenant, such as `/readyz`."""


async def _context(request: Request) -> RequestContext:
    return context_of(request)


ContextDep = Annotated[RequestContext, Depends(_context)]
"""The principal of the request, and the limiter that its cost is charged to."""


async def _workspace(services: ServicesDep, context: ContextDep) -> Workspace:
    return services.workspaces.of(context.principal.tenant)


WorkspaceDep = Annotated[Workspace, Depends(_workspace)]
"""The agents and collections of the principal's tenant."""
