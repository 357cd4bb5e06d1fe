"""The table of rules agrees with the router, whatever the routes look like."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from super_advanced_agents.errors import PermissionDeniedError
from super_advanced_agents.server.access import EXTENSION
from super_advanced_agents.server.identity.rules import CLOSED, PUBLIC, SOMEBODY, RouteRules, Rule, grpc_rule
from super_advanced_agents.tenancy.context import ANYBODY, Access, Principal


def needs(access):
    """As the table has it for an operation."""
    return {"openapi_extra": {EXTENSION: "public" if access is None else access.value}}


def _nothing():
    return None


@pytest.fixture
def rules():
    inner = APIRouter(prefix="/things/{thing}")
    inner.get("/parts/{uid:path}", **needs(Access.READ))(_nothing)
    inner.delete("/parts/{uid:path}", **needs(Access.WRITE))(_nothing)
    inner.get("/parts/{uid}/history", **needs(Access.ADMIN))(_nothing)
    outer = APIRouter(prefix="/v1")
    outer.include_router(inner)
    outer.get("/{anything}", **needs(Access.JOBS))(_nothing)
    outer.get("/fixed", **needs(Access.GENERATE))(_nothing)
    outer.post("/fixed", **needs(Access.WRITE))(_nothing)
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(outer)
    app.get("/open", **needs(None))(_nothing)
    app.get("/forgotten")(_nothing)
    app.mount("/mcp", Starlette())
    app.mount("/pages", Starlette())
    app.router.routes.append(Route("/raw", _nothing, methods=["POST"]))
    return RouteRules(app.routes)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/things/a/parts/b", Rule(Access.READ)),
        ("GET", "/v1/things/a/parts/b/history", Rule(Access.READ)),  # the first route that fits, as the router has it
        ("DELETE", "/v1/things/a/parts/b/c/d", Rule(Access.WRITE)),
        ("PUT", "/v1/things/a/parts/b", frozenset({"GET", "DELETE"})),
        ("GET", "/v1/fixed", Rule(Access.JOBS)),  # shadowed by the route before it
        ("POST", "/v1/fixed", Rule(Access.WRITE)),
        ("PATCH", "/v1/fixed", frozenset({"GET", "POST"})),
        ("GET", "/open", PUBLIC),
        ("HEAD", "/open", frozenset({"GET"})),
        ("GET", "/openapi.json", PUBLIC),
        ("HEAD", "/openapi.json", PUBLIC),
        ("GET", "/forgotten", CLOSED),
        ("POST", "/raw", CLOSED),
        ("POST", "/mcp/", SOMEBODY),
        ("BREW", "/mcp/whatever/there", SOMEBODY),
        ("GET", "/pages/x", CLOSED),
        ("GET", "/nowhere", frozenset()),
        ("GET", "/", frozenset()),
        ("GET", "", frozenset()),
        ("GET", "/v1/things/a/parts", frozenset()),
        ("GET", "/open/", frozenset()),
        ("GET", "//open", frozenset()),
    ],
)
def test_the_rule_of_a_request_is_that_of_the_route_it_will_reach(rules, method, path, expected):
    """Nested routers, shadowed paths, mounts; what has no rule is closed, what does not exist has none."""
    assert rules.of(method, path) == expected


def test_a_rule_lets_in_whom_it_names():
    """`admin` may do everything but what nobody may."""
    reader = Principal(tenant="a", scopes=frozenset({Access.READ}), key_id="k")
    Rule(Access.READ).check(reader)
    SOMEBODY.check(Principal(tenant="a", scopes=frozenset(), key_id="k"))
    with pytest.raises(PermissionDeniedError, match="memories:write"):
        Rule(Access.WRITE).check(reader)
    Rule(Access.WRITE).check(Principal(tenant="a", scopes=frozenset({Access.ADMIN}), key_id="k"))
    with pytest.raises(PermissionDeniedError):
        CLOSED.check(ANYBODY)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("/super_advanced_agents.v1.VectorStoreService/SearchStream", Rule(Access.READ)),
        ("/super_advanced_agents.v1.VectorStoreService/AddStream", Rule(Access.WRITE)),
        ("/super_advanced_agents.v1.AgentService/AskStream", Rule(Access.GENERATE)),
        ("/super_advanced_agents.v1.OrchestratorService/Collaborate", Rule(Access.GENERATE)),
        ("/grpc.health.v1.Health/Check", PUBLIC),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", PUBLIC),
        ("/super_advanced_agents.v1.AgentService/Obliterate", CLOSED),
        ("/other.VectorStoreService/Search", CLOSED),
        ("/super_advanced_agents.v1.VectorStoreService/Search\n", CLOSED),
        ("", CLOSED),
    ],
)
def test_grpc_methods_are_ruled_by_what_they_do(method, expected):
    """What nobody foresaw is closed."""
    assert grpc_rule(method) == expected
