"""The pipeline in front of a small application, without a server."""

from __future__ import annotations

from types import SimpleNamespace

from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.pipeline import Pipeline
from super_advanced_agents.server.route_table import RouteTable
from super_advanced_agents.tenancy.context import ANYBODY


class Anybody:
    """Lets everybody in."""

    async def authenticate(self, *, authorization, api_key):
        del authorization, api_key
        return ANYBODY


def state(*, max_timeout_s=60, admission=None, **parts):
    """What an application holds for its middleware; any part of the gate may be given."""
    limits = {"per_key": 0, "per_tenant": 0}
    services = SimpleNamespace(
        **{
            "authenticator": Anybody(),
            "admission": admission or Admission(permits=dict.fromkeys(PermitKind, 10)),
            "limiter": RateLimiter(**limits),
            "idempotency": None,
            **parts,
        }
    )
    return SimpleNamespace(services=services, pipeline=Pipeline(services, max_timeout_s=max_timeout_s))


def operation(verb, path, **others):
    """A row of a table."""
    return Operation(name=f"{verb} {path}", verb=verb, path=path, **others)


class Piped:
    """An application behind the pipeline.

    Args:
        app: what answers.
        operations: what it serves.
        parts: see `state`.
    """

    def __init__(self, app, *operations, **parts):
        self._pipeline = PipelineMiddleware(app, routes=RouteTable(operations))
        self._app = SimpleNamespace(state=state(**parts))

    async def __call__(self, scope, receive, send):
        await self._pipeline({**scope, "app": self._app}, receive, send)
