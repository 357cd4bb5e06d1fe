"""The route that operators read: `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.server.http.route_options import route_options
from super_advanced_agents.server.observing.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["operation"])


@router.api_route(**route_options(ops.METRICS), response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the server's metrics in Prometheus' text format; they name no tenants and no data.

    They are those of all tenants together, so this needs the scope `metrics`, which `admin` does not include.
    """
    source: Metrics = request.app.state.metrics
    return Response(await source.aread(), media_type=CONTENT_TYPE)
