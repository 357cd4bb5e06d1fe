"""`POST /search`, as the specification shows it: the default agent's memories."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from super_advanced_agents.server.access import needs
from super_advanced_agents.server.dependencies import TheWorkspace
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.json_requests import JSONRoute, json_response
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import Query, Results, results_out
from super_advanced_agents.server.schemas_tenant import Stats
from super_advanced_agents.tenancy.context import Access

router = APIRouter(tags=["search"], route_class=JSONRoute)


@router.post("/search", response_model=Results, **needs(Access.READ))
async def search(body: Query, workspace: TheWorkspace, request: Request) -> Response:
    """Find the default agent's memories that are most like the query, best first."""
    with fields_of():
        found = workspace.default_agent.asearch_text(body.query, body.top_k)
        return json_response(results_out(await while_connected(request.receive, found)))


@router.get("/v1/stats", response_model=Stats, **needs(Access.READ))
async def stats(workspace: TheWorkspace) -> Response:
    """What the caller's tenant has, and what the server works with."""
    return json_response(await workspace.astats())
