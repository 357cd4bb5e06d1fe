"""The routes that are called most answer as the framework would, without its way to them."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from super_advanced_agents.server.access import needs
from super_advanced_agents.server.error_handlers import add_error_handlers
from super_advanced_agents.server.json_requests import JSONRoute, json_response
from super_advanced_agents.server.quick_routes import add_quick_routes
from super_advanced_agents.server.schemas import SearchRequest
from super_advanced_agents.tenancy.context import Access


def _app(*, quick):
    app = FastAPI(generate_unique_id_function=lambda route: route.name)
    app.router.route_class = JSONRoute
    add_error_handlers(app)

    @app.post("/found/{name}", **needs(Access.READ))
    async def found(name: str, body: SearchRequest, request: Request) -> Response:
        return json_response({"name": name, "query": body.query, "path": request.url.path})

    if quick:
        add_quick_routes(app, ["found"])
    return app


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"query": "x"}},
        {"json": {"query": "x", "top_k": "5"}},
        {"json": {"query": "x", "weights": {"vector": "much"}}},
        {"json": {"queri": "x"}},
        {"json": []},
        {"content": b"{"},
        {"content": b'{"query": "x"}'},
        {"content": b'{"query": "x"}', "headers": {"content-type": "text/plain"}},
        {"content": b'{"query": "x", "query": "y"}', "headers": {"content-type": "application/json"}},
        {"content": b'{"query": NaN}', "headers": {"content-type": "application/json"}},
        {"content": b"1" * 5_000, "headers": {"content-type": "application/json"}},
        {"content": b""},
        {"content": b"", "headers": {"content-type": "application/json"}},
    ],
    ids=lambda sent: str(sent)[:40],
)
def test_both_ways_answer_the_same(sent):
    """Status, type and field, whatever is sent."""
    answers = []
    for quick in (True, False):
        with TestClient(_app(quick=quick)) as client:
            answer = client.post("/found/a%20b", **sent)
            told = answer.json()
            field = told.get("field") or ("body" if answer.status_code == 422 else None)
            answers.append((answer.status_code, answer.headers["content-type"], field, told.get("name")))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 415, 422)


def test_only_operations_there_are_can_be_quick():
    """A name that is wrong is told when the application is made."""
    with pytest.raises(LookupError):
        add_quick_routes(_app(quick=False), ["nothing"])
