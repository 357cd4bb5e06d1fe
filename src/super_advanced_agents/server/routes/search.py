"""`POST /search`, as the specification shows it: the default agent's memories."""

from __future__ import annotations

from fastapi import APIRouter, Request

from super_advanced_agents.server.access import Access, needs
from super_advanced_agents.server.dependencies import TheWorkspace
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import Query, Results

router = APIRouter(tags=["search"])


@router.post("/search", **needs(Access.READ))
async def search(body: Query, workspace: TheWorkspace, request: Request) -> Results:
    """Find the default agent's memories that are most like the query, best first."""
    with fields_of():
        return Results.of(
            await while_connected(request.receive, workspace.default_agent.asearch_text(body.query, body.top_k))
        )
