"""Test that the route table finds the operation that the router would reach, for any path."""

from __future__ import annotations

from dataclasses import fields

import pytest
from fastapi.routing import iter_route_contexts
from tests.unit.server.grpc.conftest import opened_services

from super_advanced_agents.protocol.operations import BY_ROUTE, BY_RPC, OPERATIONS, Operation, Retry
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.grpc.health import HEALTH
from super_advanced_agents.server.grpc.reflection import REFLECTION
from super_advanced_agents.server.grpc.server import method_handlers
from super_advanced_agents.server.route_table import ROUTES, RouteTable, rpc_operation
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings


def _operation(verb, path, access=None, **others):
    return Operation(name=f"{verb} {path}", verb=verb, path=path, access=access, **others)


READ = _operation("GET", "/v1/things/{thing}/parts/{uid:path}", Access.READ)
REMOVE = _operation("DELETE", "/v1/things/{thing}/parts/{uid:path}", Access.WRITE)
FIXED = _operation("POST", "/v1/fixed", Access.WRITE)
LISTED = _operation("GET", "/v1/fixed", Access.GENERATE)
OPEN = _operation("GET", "/open", public=True)
NAMED = _operation("POST", "/mcp/{agent}")
RPC_ONLY = _operation("", "", Access.READ)


@pytest.mark.parametrize(
    ("verb", "path", "expected"),
    [
        ("GET", "/v1/things/a/parts/b", READ),
        ("GET", "/v1/things/a/parts/b/history", READ),
        ("DELETE", "/v1/things/a/parts/b/c/d", REMOVE),
        ("PUT", "/v1/things/a/parts/b", frozenset({"GET", "DELETE"})),
        ("POST", "/v1/fixed", FIXED),
        ("GET", "/v1/fixed", LISTED),
        ("PATCH", "/v1/fixed", frozenset({"GET", "POST"})),
        ("GET", "/open", OPEN),
        ("HEAD", "/open", frozenset({"GET"})),
        ("POST", "/mcp/agent", NAMED),
        ("BREW", "/mcp/agent", frozenset({"POST"})),
        ("POST", "/mcp/agent/there", frozenset()),
        ("GET", "/nowhere", frozenset()),
        ("GET", "/", frozenset()),
        ("GET", "", frozenset()),
        ("", "", frozenset()),
        ("GET", "/v1/things/a/parts", frozenset()),
        ("GET", "/open/", frozenset()),
        ("GET", "//open", frozenset()),
    ],
)
def test_route_table_finds_the_operation_or_the_allowed_verbs_of_a_path(verb, path, expected):
    """A path that does not exist has no verbs."""
    table = RouteTable([READ, REMOVE, FIXED, LISTED, OPEN, NAMED, RPC_ONLY])
    assert table.find(verb, path) == expected


def test_every_route_has_an_operation_and_every_operation_a_route():
    """A request for a route without an operation never reaches it."""
    contexts = [each for each in iter_route_contexts(create_app(Settings.load()).routes) if each.path is not None]
    assert {(verb, each.path) for each in contexts for verb in each.methods or {"*"}} == set(BY_ROUTE)


@pytest.mark.parametrize("route", BY_ROUTE, ids=" ".join)
def test_every_operation_is_found_by_a_path_of_its_route(route):
    """No pattern of the table hides the requests of another one."""
    verb, path = route
    filled = path.replace("{uid:path}", "a/b").replace("{model:path}", "a/b").replace("{", "").replace("}", "")
    assert ROUTES.find(verb, filled) is BY_ROUTE[route]


async def test_every_grpc_method_has_an_operation_and_every_rpc_operation_a_method(tmp_path):
    """The methods of the standard services have explicit, public operations."""
    async with opened_services(tmp_path) as services:
        served = {handler.path for handler in method_handlers(services, services.runtime.settings)}
    standard = {path for path in served if path.startswith((f"/{HEALTH}/", f"/{REFLECTION}/"))}
    assert served - standard == set(BY_RPC)
    assert all(rpc_operation(path).public for path in standard)
    assert not any(row.public for row in BY_RPC.values())


@pytest.mark.parametrize(
    ("method", "access"),
    [
        ("VectorStoreService/SearchStream", (Access.READ,)),
        ("VectorStoreService/AddStream", (Access.WRITE,)),
        ("AgentService/AskStream", (Access.GENERATE, Access.READ)),
        ("OrchestratorService/Collaborate", (Access.GENERATE, Access.READ)),
    ],
)
def test_grpc_method_requires_the_scope_of_its_operation(method, access):
    """An operation is found by the full name of its method."""
    assert rpc_operation(f"/super_advanced_agents.v1.{method}").access == access


@pytest.mark.parametrize(
    "method",
    [
        "/super_advanced_agents.v1.AgentService/Obliterate",
        "/other.VectorStoreService/Search",
        "/super_advanced_agents.v1.VectorStoreService/Search\n",
        "",
    ],
)
def test_unknown_grpc_method_raises_lookup_error(method):
    """A server with such a method does not start."""
    with pytest.raises(LookupError):
        rpc_operation(method)


def test_write_that_a_client_repeats_carries_a_key_or_a_write_id():
    """Otherwise a repetition after a lost reply would undo what others did meanwhile."""
    keyed = [each for each in OPERATIONS if each.keyed and each.request is not None and each.rpc is not None]
    without_id = [each for each in keyed if "write_id" not in {field.name for field in fields(each.request)}]
    assert len(without_id) > 5
    assert [each.name for each in without_id if each.retry is not Retry.WITH_KEY] == ["addPart"]  # by its offset
