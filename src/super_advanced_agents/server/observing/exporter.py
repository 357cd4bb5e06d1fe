"""The metrics on a port of their own, for scrapers that have no key."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.http.errors import problem_response
from super_advanced_agents.server.http.listener.server import RestServer
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.observing.metrics import CONTENT_TYPE, Metrics
from super_advanced_agents.server.observing.requests import RequestObserver
from super_advanced_agents.server.sockets import address_of, bind_listener
from super_advanced_agents.tenancy.configuration.values import is_loopback
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings

METRICS_PORT = "SAA_METRICS_PORT"


@asynccontextmanager
async def metrics_server(
    metrics: Metrics, settings: Settings, authenticator: Authenticator, admission: Admission
) -> AsyncIterator[str | None]:
    """Enter a context that serves the metrics on their own port, if the settings name one.

    Yields:
        The URL of the metrics; None without such a port.

    Raises:
        ConfigurationError: the address is in use, or it is not loopback and callers would not be authenticated.
    """
    if settings.metrics_port is None:
        yield None
        return
    app = _application(metrics, settings, authenticator)
    app.state.admission, app.state.observer = admission, RequestObserver(access_log=False)
    server = RestServer(app, settings)
    listener = bind_listener(settings.metrics_host, settings.metrics_port, METRICS_PORT)
    with contextlib.closing(listener):
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve metrics")
        try:
            yield f"http{'s' if settings.tls_cert else ''}://{address_of(listener)}/metrics"
        finally:
            server.should_exit = True
            await serving


def _application(metrics: Metrics, settings: Settings, authenticator: Authenticator) -> Starlette:
    is_open = is_loopback(settings.metrics_host)

    async def answer(request: Request) -> Response:
        try:
            if not is_open:
                headers = request.headers
                principal = await authenticator.authenticate(
                    authorization=headers.get("authorization"), api_key=headers.get("x-api-key")
                )
                principal.require(Access.METRICS)
            return Response(await metrics.aread(), media_type=CONTENT_TYPE)
        except SuperAdvancedAgentsError as exc:
            return problem_response(problem_of(exc))

    app = Starlette(routes=[Route("/metrics", answer, methods=["GET"])])
    if is_open:  # against DNS rebinding: elsewhere a key is needed, which no browser sends by itself
        app.add_middleware(AllowedHosts, names=settings.allowed_hosts, origins=())
    return app
