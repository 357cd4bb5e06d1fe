"""Statistics of the caller's tenant: `/v1/stats`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.http.body import json_response
from super_advanced_agents.server.http.dependencies import WorkspaceDep
from super_advanced_agents.server.http.route_options import route_options
from super_advanced_agents.server.http.schemas.results import Stats

router = APIRouter(tags=["tenant"])


@router.api_route(**route_options(ops.TENANT_STATS), response_model=Stats)
async def stats(workspace: WorkspaceDep) -> Response:
    """Return the tenant's counts of agents and collections, and the server's model and store."""
    return json_response(await workspace.astats())
