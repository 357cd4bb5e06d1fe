"""Several agents behind one question: `/v1/orchestrators/...`. One called `default` has every agent of the tenant."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol import requests as protocol
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import Endpoint, ParsedRequest, add_endpoint
from super_advanced_agents.server.http.schemas import results as answers
from super_advanced_agents.server.http.schemas.bodies import body_of

router = APIRouter(tags=["orchestrators"], route_class=JSONRoute)


async def _fallback(parsed: ParsedRequest) -> Any:
    backup = parsed.body.backup
    backups = [backup] if isinstance(backup, str) else backup
    return json_of_result(await parsed.result(lambda: parsed.body.made(backups=backups)))


async def _parallel(parsed: ParsedRequest) -> Any:
    wait = parsed.body.wait
    waiting = {"wait": wait} if isinstance(wait, str) else {"quorum": wait}
    return json_of_result(await parsed.result(lambda: parsed.body.made(**waiting)))


ENDPOINTS = (
    Endpoint(operation=ops.LIST_ORCHESTRATORS, shape=answers.OrchestratorsOut),
    Endpoint(operation=ops.SUPERVISE, shape=answers.Supervision),
    Endpoint(operation=ops.ROUTE, body=body_of(protocol.RouteRequest, "RouteIn"), shape=answers.OutcomeOut),
    Endpoint(operation=ops.CHAIN, body=body_of(protocol.ChainRequest, "ChainIn"), shape=answers.OutcomeOut),
    Endpoint(
        operation=ops.FALLBACK,
        body=body_of(protocol.FallbackRequest, "FallbackIn", without=["backups"], backup=(str | list[str], ...)),
        shape=answers.OutcomeOut,
        show=_fallback,
    ),
    Endpoint(
        operation=ops.PARALLEL,
        body=body_of(
            protocol.ParallelRequest,
            "ParallelIn",
            without=["wait", "quorum"],
            wait=(Literal["first", "all"] | int, "first"),
        ),
        shape=answers.OutcomeOut,
        show=_parallel,
    ),
    Endpoint(
        operation=ops.COLLABORATE,
        body=body_of(protocol.CollaborateRequest, "CollaborateIn"),
        shape=answers.OutcomeOut,
    ),
)

for each in ENDPOINTS:
    add_endpoint(router, each)
