"""`POST /search`, as the specification shows it: the default agent's memories."""

from __future__ import annotations

from fastapi import APIRouter, Request

from super_advanced_agents.server.dependencies import TheEngines
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.renaming import fields_of
from super_advanced_agents.server.schemas import Query, Results

router = APIRouter(tags=["search"])


@router.post("/search")
async def search(body: Query, engines: TheEngines, request: Request) -> Results:
    """Find the default agent's memories that are most like the query, best first."""
    agent = engines.agent(engines.settings.agent)
    with fields_of():
        return Results.of(await while_connected(request.receive, agent.asearch_text(body.query, body.top_k)))
