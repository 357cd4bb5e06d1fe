"""A small application behind the request pipeline, without a server."""

from __future__ import annotations

from types import SimpleNamespace

from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.loop_pacing import LoopPacer
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.limits.sending import SendingAnswers
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.route_table import RouteTable
from super_advanced_agents.tenancy.context import ANYBODY


class OpenAuthenticator:
    """Authenticate every caller as the default tenant."""

    async def authenticate(self, *, authorization, api_key):
        del authorization, api_key
        return ANYBODY


def pipeline_state(*, max_timeout_s=60, admission=None, **parts):
    """Return the state that an application holds for its middleware; any of the services may be given."""
    limits = {"per_key": 0, "per_tenant": 0}
    services = SimpleNamespace(
        audit=None,
        **{
            "authenticator": OpenAuthenticator(),
            "admission": admission or Admission(permits=dict.fromkeys(PermitKind, 10)),
            "limiter": RateLimiter(**limits),
            "idempotency": None,
            "sending": SendingAnswers(),
            "pacer": LoopPacer(),
            **parts,
        },
    )
    return SimpleNamespace(services=services, pipeline=Pipeline(services, max_timeout_s=max_timeout_s))


def operation(verb, path, **others):
    """Return a row of the table of operations."""
    return Operation(name=f"{verb} {path}", verb=verb, path=path, **others)


class PipelinedApplication:
    """Run an application behind the pipeline.

    Args:
        app: the application.
        operations: the operations that it serves.
        parts: see `pipeline_state`.

    """

    def __init__(self, app, *operations, **parts):
        self._pipeline = PipelineMiddleware(app, routes=RouteTable(operations))
        self._app = SimpleNamespace(state=pipeline_state(**parts))

    async def __call__(self, scope, receive, send):
        scope["app"] = self._app
        await self._pipeline(scope, receive or _no_body, send)


async def _no_body():
    return {"type": "http.request", "body": b"", "more_body": False}
