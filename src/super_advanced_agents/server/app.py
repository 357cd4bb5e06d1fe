"""The FastAPI application: middleware, routes, and the lifespan that opens the vector store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.jobs.opening import opened_jobs, running_worker
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.forwarded import ForwardedCallers, TrustedProxies
from super_advanced_agents.server.http.endpoints import HotRoutes
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts, CrossOrigin
from super_advanced_agents.server.http.middleware.idempotency import IdempotentWrites
from super_advanced_agents.server.http.middleware.observed import Observed
from super_advanced_agents.server.http.middleware.openai_errors import OpenAIErrors
from super_advanced_agents.server.http.openapi import extend_openapi
from super_advanced_agents.server.http.routes import (
    agents,
    collections,
    health,
    memories,
    observing,
    openai,
    orchestrators,
    tenant,
)
from super_advanced_agents.server.http.routes import (
    jobs as job_routes,
)
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.limits.shared import SharedLimits
from super_advanced_agents.server.mcp.http import MCPEndpoint
from super_advanced_agents.server.observing.background_tasks import background_tasks
from super_advanced_agents.server.observing.metrics import Metrics
from super_advanced_agents.server.observing.requests import RequestObserver
from super_advanced_agents.server.observing.server_samples import server_samples
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.services import Services
from super_advanced_agents.server.storage_watch import StorageWatch
from super_advanced_agents.tenancy.orchestrators import Connect
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


def create_app(settings: Settings, *, connect: Connect | None = None) -> FastAPI:
    """Create the server's FastAPI application; its lifespan opens the vector store.

    The lifespan opens the store (and fails if it cannot), then loads the models while requests are already answered:
    `/healthz` answers at once, `/readyz` answers 503 until the embedding model is loaded. On shutdown the lifespan
    finishes the requests that were accepted.

    Args:
        settings: the folders, addresses, models and limits of the server.
        connect: opens a connection to an agent of another server, for orchestrators that are declared with one.

    Raises (when the lifespan starts):
        StoreLockedError: another process owns the store's folder.
        SuperAdvancedAgentsError: the store cannot be opened.
    """
    shared = SharedLimits.of(settings)
    admission, limiter = Admission.of(settings, shared), RateLimiter.of(settings, shared)
    observer = RequestObserver(
        access_log=settings.access_log, slow_s=settings.slow_request_s, tenants=settings.metrics_tenants
    )
    mcp = MCPEndpoint(max_body_bytes=settings.max_body_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Runtime(settings, connect=connect, embedding_cache=settings.embedding_cache) as runtime,
            AsyncExitStack() as stack,
        ):
            services = app.state.services = await _open_services(
                runtime, stack, admission=admission, limiter=limiter, observer=observer
            )
            app.state.pipeline = Pipeline(
                services,
                max_timeout_s=settings.request_timeout_s,
                search_s=settings.search_s,
                refresh=services.arefresh,
            )
            app.state.metrics = Metrics(runtime, services.jobs, lambda: server_samples(services))
            assert services.audit is not None
            try:
                async with background_tasks(runtime, services.audit):
                    await in_thread(lambda: _build_routes(app), name="build routes")
                    async with mcp.open(), running_worker(services.jobs, settings, limiter=limiter):
                        yield
            finally:
                await in_thread(services.conversions.close, name="close conversions")

    app = FastAPI(
        title="Super Advanced Agents",
        version=version("super-advanced-agents"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's docs pages load scripts from a CDN; /openapi.json serves the schema
        redoc_url=None,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        summary="Agents that remember: embed, store, find, answer.",
    )
    app.state.observer = observer
    app.state.admission = admission  # the HTTP protocol refuses requests with it before they reach the application
    add_error_handlers(app)
    _add_middleware(app, settings, observer)
    _add_routes(app, mcp)
    return app


def _add_routes(app: FastAPI, mcp: MCPEndpoint) -> None:
    for module in (health, observing, tenant, agents, memories, collections, openai, orchestrators, job_routes):
        app.include_router(module.router)
    app.router.routes.extend(mcp.routes())
    extend_openapi(app)
    endpoints = (*agents.ENDPOINTS, *collections.ENDPOINTS)
    app.router.routes.insert(0, HotRoutes(endpoint for endpoint in endpoints if endpoint.operation.hot))


async def _open_services(
    runtime: Runtime, stack: AsyncExitStack, *, admission: Admission, limiter: RateLimiter, observer: RequestObserver
) -> Services:
    settings = runtime.settings
    await runtime.aopen()
    requests = runtime.state or settings.server_dir / "requests.db"
    authenticator = await stack.enter_async_context(Authenticator(settings, runtime.state))
    idempotency = await stack.enter_async_context(Idempotency(requests))
    await idempotency.aopen()
    await authenticator.aopen()
    if limiter.shared is not None:
        await stack.enter_async_context(limiter.shared)
    jobs = await stack.enter_async_context(opened_jobs(settings, runtime=runtime))
    audit = await stack.enter_async_context(AuditLog.of(settings))
    checks = [runtime.check_files, idempotency.check_files, jobs.check_files]
    storage = await stack.enter_async_context(StorageWatch(checks))
    return Services(
        runtime=runtime,
        authenticator=authenticator,
        admission=admission,
        limiter=limiter,
        shared=limiter.shared,
        idempotency=idempotency,
        jobs=jobs,
        audit=audit,
        storage=storage,
        observer=observer,
    )


def _add_middleware(app: FastAPI, settings: Settings, observer: RequestObserver) -> None:
    # Starlette runs the middleware that was added last first.
    app.add_middleware(IdempotentWrites)
    app.add_middleware(PipelineMiddleware)
    if settings.allowed_origins:
        app.add_middleware(CrossOrigin, origins=settings.allowed_origins)
    app.add_middleware(AllowedHosts, names=settings.allowed_hosts, origins=settings.allowed_origins)
    app.add_middleware(OpenAIErrors)
    app.add_middleware(Observed, observer=observer)
    if settings.trusted_proxies:
        app.add_middleware(ForwardedCallers, proxies=TrustedProxies(settings.trusted_proxies))


def _build_routes(app: FastAPI) -> None:
    # FastAPI builds included routes, and pydantic their models, when the first request is matched with them: 0.2 s.
    nowhere = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [], "app": app}
    for route in app.router.routes:
        route.matches(nowhere)
