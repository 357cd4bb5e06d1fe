"""Routes of orchestrators, which ask several agents: `/v1/orchestrators/...`.

The orchestrator `default` has every agent of the tenant.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol import requests as protocol
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import Endpoint, ParsedRequest, add_endpoint
from super_advanced_agents.server.http.schemas import results
from super_advanced_agents.server.http.schemas.bodies import body_of

router = APIRouter(tags=["orchestrators"], route_class=JSONRoute)


async def _fallback(parsed: ParsedRequest) -> Any:
    backup = parsed.body.backup
    backups = [backup] if isinstance(backup, str) else backup
    return json_of_result(await parsed.result(lambda: parsed.body.build(backups=backups)))


async def _parallel(parsed: ParsedRequest) -> Any:
    wait = parsed.body.wait
    condition = {"wait": wait} if isinstance(wait, str) else {"quorum": wait}
    return json_of_result(await parsed.result(lambda: parsed.body.build(**condition)))


ENDPOINTS = (
    Endpoint(operation=ops.LIST_ORCHESTRATORS, response_model=results.OrchestratorsOut),
    Endpoint(operation=ops.SUPERVISE, response_model=results.Supervision),
    Endpoint(operation=ops.ROUTE, body=body_of(protocol.RouteRequest, "RouteIn"), response_model=results.OutcomeOut),
    Endpoint(operation=ops.CHAIN, body=body_of(protocol.ChainRequest, "ChainIn"), response_model=results.OutcomeOut),
    Endpoint(
        operation=ops.FALLBACK,
        body=body_of(protocol.FallbackRequest, "FallbackIn", without=["backups"], backup=(str | list[str], ...)),
        response_model=results.OutcomeOut,
        handler=_fallback,
    ),
    Endpoint(
        operation=ops.PARALLEL,
        body=body_of(
            protocol.ParallelRequest,
            "ParallelIn",
            without=["wait", "quorum"],
            wait=(Literal["first", "all"] | int, "first"),
        ),
        response_model=results.OutcomeOut,
        handler=_parallel,
    ),
    Endpoint(
        operation=ops.COLLABORATE,
        body=body_of(protocol.CollaborateRequest, "CollaborateIn"),
        response_model=results.OutcomeOut,
    ),
)

for endpoint in ENDPOINTS:
    add_endpoint(router, endpoint)
