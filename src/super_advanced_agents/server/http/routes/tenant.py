"""What the caller's tenant has."""

from __future__ import annotations

from fastapi import APIRouter, Response

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.http.body import json_response
from super_advanced_agents.server.http.dependencies import WorkspaceDep
from super_advanced_agents.server.http.route_options import served
from super_advanced_agents.server.http.schemas.results import Stats

router = APIRouter(tags=["tenant"])


@router.api_route(**served(ops.TENANT_STATS), response_model=Stats)
async def stats(workspace: WorkspaceDep) -> Response:
    """What the caller's tenant has, and what the server works with."""
    return json_response(await workspace.astats())
