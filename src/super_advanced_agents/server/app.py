"""The application: what a request passes, in one place, and what lives as long as the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.http.endpoints import HotRoutes
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.middleware.bodies import BodyLimit
from super_advanced_agents.server.http.middleware.calls import CallPipeline
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts, CrossOrigin
from super_advanced_agents.server.http.middleware.idempotency import IdempotentWrites
from super_advanced_agents.server.http.middleware.openai_errors import OpenAIErrors
from super_advanced_agents.server.http.openapi import describe
from super_advanced_agents.server.http.routes import (
    agents,
    collections,
    health,
    memories,
    openai,
    orchestrators,
    tenant,
)
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.mcp.http import MCPEndpoint
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.orchestrators import Connect
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


def create_app(settings: Settings, *, connect: Connect | None = None) -> FastAPI:
    """Make the application; nothing is opened until its lifespan begins.

    The lifespan takes the store (and fails if it cannot), then loads the models while requests are already answered:
    `/healthz` at once, `/readyz` with 503 until the embedding model is there. At its end it finishes what was accepted.

    Args:
        settings: where everything is, and how large requests may be.
        connect: reaches agents of other servers, for orchestrators that are declared with them.

    Raises (when the lifespan begins):
        StoreLockedError: another process owns the store's folder.
        SuperAdvancedAgentsError: the store cannot be opened.
    """

    admission, limiter = Admission.of(settings), RateLimiter.of(settings)
    mcp = MCPEndpoint(max_body_bytes=settings.max_body_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Runtime(settings, connect=connect, embedding_cache=settings.embedding_cache) as runtime,
            Authenticator(settings) as authenticator,
            Idempotency(settings.data_dir / "server" / "requests.db") as idempotency,
        ):
            await runtime.aopen()
            await authenticator.aopen()
            app.state.services = Services(
                runtime=runtime,
                authenticator=authenticator,
                admission=admission,
                limiter=limiter,
                idempotency=idempotency,
            )
            app.state.pipeline = Pipeline(app.state.services, longest_s=settings.request_timeout_s)
            loading = asyncio.create_task(runtime.akeep_loading(), name="load models")
            try:
                async with mcp.open():
                    yield
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    app = FastAPI(
        title="Super Advanced Agents",
        version=version("super-advanced-agents"),
        lifespan=lifespan,
        docs_url=None,  # the pages that show the schema load scripts from elsewhere; /openapi.json is the schema
        redoc_url=None,
        summary="Agents that remember: embed, store, find, answer.",
    )
    app.state.admission = admission  # its listener refuses before a request reaches the application
    add_error_handlers(app)
    # The last one added is the first one a request meets.
    app.add_middleware(IdempotentWrites)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(CallPipeline)
    if settings.allowed_origins:
        app.add_middleware(CrossOrigin, origins=settings.allowed_origins)
    app.add_middleware(AllowedHosts, names=settings.allowed_hosts, origins=settings.allowed_origins)
    app.add_middleware(OpenAIErrors)
    for room in (health, tenant, agents, memories, collections, openai, orchestrators):
        app.include_router(room.router)
    app.router.routes.extend(mcp.routes())
    describe(app)
    served = (*agents.ENDPOINTS, *collections.ENDPOINTS)
    app.router.routes.insert(0, HotRoutes(each for each in served if each.operation.hot))
    return app
