"""Liveness and readiness of the server, for process managers and load balancers."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.http.dependencies import RuntimeDep, ServicesDep
from super_advanced_agents.server.http.route_options import route_options
from super_advanced_agents.server.http.schemas.results import Health, Readiness
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.runtime import Runtime, Stage

router = APIRouter(tags=["health"])


@router.api_route(**route_options(ops.HEALTH_HEAD), include_in_schema=False)
@router.api_route(**route_options(ops.HEALTH))
async def health() -> Health:
    """Answer 200 as long as the process is up and its event loop runs."""
    return Health()


@router.api_route(**route_options(ops.READINESS_HEAD), include_in_schema=False)
@router.api_route(
    **route_options(ops.READINESS), responses={HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": Readiness}}
)
async def readiness(runtime: RuntimeDep, services: ServicesDep, response: Response) -> Readiness:
    """Answer 200 while the vector store is open and the embedding model is loaded, else 503.

    While the server is stopping, or has lost a file of its databases, the status is 503 as well. The reason names
    states only: anybody may ask, and what an error says about files and addresses stands in the log.
    """
    if not services.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(
        ready=services.ready,
        store="failed" if services.storage_lost else "unreachable" if services.engine_away else "open",
        embedding_model=runtime.embedding.value,
        language_model=runtime.generation.value,
        reason=_reason(runtime, services),
        degraded=services.degraded,
    )


def _reason(runtime: Runtime, services: Services) -> str | None:
    if services.draining:
        return "the server is being stopped"
    if services.storage_lost:
        return "a file of the server's databases was removed or replaced; the server's log says which"
    if runtime.embedding is Stage.FAILED:
        return "the embedding model could not be loaded; the server's log says why"
    if runtime.embedding is not Stage.READY:
        return "the embedding model is being loaded"
    if runtime.generation is Stage.FAILED:
        return "the language model could not be loaded; the server's log says why"
    return None
