"""The routes that operators read: `/metrics`, and a tenant's entries of the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, JsonValue

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.http.body import json_response
from super_advanced_agents.server.http.dependencies import ContextDep, ServicesDep
from super_advanced_agents.server.http.route_options import route_options
from super_advanced_agents.server.http.schemas.bodies import Parameters
from super_advanced_agents.server.observing.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["operation"])


class AuditParameters(Parameters):
    """The query parameters of a page of the audit log."""

    before: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="only entries before the one with this `hash`"
    )
    limit: int = Field(default=100, ge=1, le=1000, description="the most entries")


class AuditPage(BaseModel):
    """One page of a tenant's entries of the audit log, newest first."""

    entries: list[dict[str, JsonValue]]
    next: str | None = Field(description="the next page's `before`; null on the last page")


@router.api_route(**route_options(ops.METRICS), response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the server's metrics in Prometheus' text format; they name no tenants and no data.

    They are those of all tenants together, so this needs the scope `metrics`, which `admin` does not include.
    """
    source: Metrics = request.app.state.metrics
    return Response(await source.aread(), media_type=CONTENT_TYPE)


@router.api_route(**route_options(ops.AUDIT), response_model=AuditPage)
async def audit_entries(
    services: ServicesDep, context: ContextDep, parameters: Annotated[AuditParameters, Query()]
) -> Response:
    """Return the newest entries of the audit log about the caller's tenant, newest first.

    The latest 64 MiB of the log of all tenants are looked through; `saa audit` reads all of it.
    """
    tenant, limit = context.principal.tenant, parameters.limit
    entries = (
        [] if services.audit is None else await services.audit.apage(tenant, before=parameters.before, limit=limit)
    )
    return json_response({"entries": entries, "next": entries[-1]["hash"] if len(entries) == limit else None})
