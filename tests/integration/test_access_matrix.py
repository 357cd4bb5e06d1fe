"""Every route and gRPC method admits exactly the callers declared here, and tenants stay apart.

A route or method without a row fails the tests, so its author states who may call it. The rows stand in
`access_rows.py`.
"""

from __future__ import annotations

import re
import socket
import struct

import grpc
import pytest
from fastapi.routing import iter_route_contexts
from google.protobuf import message_factory
from tests.integration.access_rows import (
    ADMIN,
    ALLOWED_CALLERS,
    ANSWER,
    ANY_KEY,
    BODIES,
    CHANGE,
    GENERATE,
    GRPC_EXPECTED,
    GRPC_METHODS,
    JOBS,
    METRICS,
    PUBLIC,
    READ,
    REFUSED_CALLERS,
    ROWS,
    SECRET_TEXT,
    VECTOR,
    WRITE,
)

from super_advanced_agents.protocol.operations import BY_ROUTE, BY_RPC
from super_advanced_agents.protocol.v1 import agents_pb2
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.tenancy.settings import Settings


class Served:
    """A server that holds data of the default tenant, and a key of every kind."""

    def __init__(self, client, keys):
        self.client = client
        self.url = client.base_url
        self.keys = keys
        self.channel = None
        self.planted = None

    def send(self, method, path, caller, body=None):
        body = None if method in {"GET", "HEAD"} else body
        request = self.client.build_request(method, path, json=body)
        del request.headers["authorization"]
        if caller != "none":
            request.headers["authorization"] = f"Bearer {self.keys[caller]}"
        return self.client.send(request)

    def planted_data(self):
        """Return what the default tenant sees of the planted data."""
        paths = (
            "/v1/agents/default/memories/planted",
            "/v1/collections/planted/records/planted",
            "/v1/collections/planted",
            "/v1/agents/default/memories:count",
            "/v1/schedules",
        )
        return [self.send("GET", path, "admin").raise_for_status().json() for path in paths]


@pytest.fixture(scope="module")
def served_keys(shared_machine):
    """Create a key of every kind before the server starts, so that the server creates none itself."""
    table = KeyTable(Settings.load(data_dir=shared_machine.data_dir).server_dir)
    created = {
        name: table.create(tenant=tenant, scopes=scopes.split())
        for name, tenant, scopes in (
            ("reader", "default", READ),
            ("writer", "default", WRITE),
            ("editor", "default", CHANGE),
            ("generator", "default", GENERATE),
            ("asker", "default", ANSWER),
            ("operator", "default", JOBS),
            ("admin", "default", ADMIN),
            ("scraper", "default", METRICS),
            ("revoked", "default", ADMIN),
            ("other", "globex", ADMIN),
        )
    }
    expiring = table.create(tenant="default", scopes=[ADMIN], expires_in_s=0.001)
    table.revoke(created["revoked"].id)
    table.close()
    keys = {name: each.key for name, each in created.items()}
    keys |= {"expired": expiring.key, "wrong": keys["admin"][:-4] + "AAAA"}
    shared_machine.key = keys["admin"]
    return keys


@pytest.fixture(scope="module")
def served(shared_machine, served_keys):
    with shared_machine.server() as client:
        assert "admin_key" not in client.startup_info
        server = Served(client, served_keys)
        note = {"uid": "planted", "text": SECRET_TEXT}
        server.send("POST", "/v1/agents/default/memories", "admin", note).raise_for_status()
        for tenant in ("admin", "other"):
            server.send("POST", "/v1/collections", tenant, {"name": "planted", "dim": 4}).raise_for_status()
        record = {"vectors": [VECTOR], "uids": ["planted"], "metadatas": [{"text": SECRET_TEXT}]}
        server.send("POST", "/v1/collections/planted/records", "admin", record).raise_for_status()
        schedule = {"kind": "ask_agent", "cron": "0 0 1 1 *", "arguments": {"question": SECRET_TEXT}}
        server.send("PUT", "/v1/schedules/planted", "admin", schedule).raise_for_status()
        server.planted = server.planted_data()
        yield server


@pytest.fixture
def over_grpc(served):
    """Give the server a channel for one test; it closes those that are idle, as between tests of a slow machine."""
    with grpc.insecure_channel(served.client.startup_info["grpc"].removeprefix("grpc://")) as served.channel:
        yield served


def _routes():
    """Yield every method and path of the application; `*` stands for any method."""
    for context in iter_route_contexts(create_app(Settings.load()).routes):
        if context.path is None:  # a group of routes; a path without a row is answered with 404 before it is reached
            continue
        for method in context.methods or {"*"}:
            yield method, context.path


def _fill_path(path, name):
    return re.sub(r"\{[^}]*\}", name, path)


def test_every_route_has_an_access_row():
    """Every access row also has a route."""
    assert set(_routes()) == set(ROWS)


def test_every_grpc_method_has_an_access_row():
    """Every access row also has a method."""
    assert set(GRPC_METHODS) == set(GRPC_EXPECTED)


def test_operation_table_requires_the_scopes_of_the_access_rows():
    """The server reads scopes from that table alone, so these rows are its check."""
    assert {route: _required_scope(row) for route, row in BY_ROUTE.items()} == ROWS
    assert {path.removeprefix("/"): _required_scope(row) for path, row in BY_RPC.items()} == GRPC_EXPECTED


def _required_scope(row):
    return PUBLIC if row.public else " ".join(row.access) or ANY_KEY


@pytest.mark.parametrize(("method", "path"), ROWS, ids=lambda value: value)
def test_route_admits_only_callers_with_its_scope(served, method, path):
    """The answer is 401 without a valid key and 403 without the scope; nothing has the names in the path."""
    expected = ROWS[method, path]
    http_method, target = ("POST" if method == "*" else method), _fill_path(path, "nothing-here")
    statuses = {
        caller: served.send(http_method, target, caller, {}).status_code
        for caller in (*REFUSED_CALLERS, *ALLOWED_CALLERS[ANY_KEY])
    }
    if expected is PUBLIC:
        assert not {401, 403} & set(statuses.values())
        return
    assert {caller: statuses.pop(caller) for caller in REFUSED_CALLERS} == dict.fromkeys(REFUSED_CALLERS, 401)
    admitted = {caller for caller, status in statuses.items() if status != 403}
    assert admitted == ALLOWED_CALLERS[expected]
    assert all(status == 403 or (status != 401 and status < 500) for status in statuses.values()), statuses


@pytest.mark.parametrize(("method", "path"), ROWS, ids=lambda value: value)
def test_route_shows_and_changes_nothing_of_another_tenant(served, method, path):
    """The caller is an administrator of another tenant and uses names that the default tenant has."""
    http_method = "POST" if method == "*" else method
    answer = served.send(http_method, _fill_path(path, "planted"), "other", BODIES.get(path, {}))
    assert answer.status_code not in ({401} if ROWS[method, path] is METRICS else {401, 403})
    assert SECRET_TEXT not in answer.text
    default = path.replace("{agent}", "default")
    assert (
        SECRET_TEXT not in served.send(http_method, _fill_path(default, "planted"), "other", BODIES.get(path, {})).text
    )
    assert served.planted_data() == served.planted


@pytest.mark.parametrize("path", sorted({path for _, path in ROWS}))
def test_route_answers_405_to_an_unsupported_method_only_with_a_key(served, path):
    """Without a key the answer is 401, so that strangers cannot learn which routes exist."""
    supported = {method for method, other in ROWS if other == path}
    target = _fill_path(path, "nothing-here")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - supported:
        if "*" not in supported:
            assert (served.send(method, target, "none").status_code, method) == (401, method)
            assert (served.send(method, target, "reader").status_code, method) == (405, method)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/v1", "/search/", "//search", "/v1/agents/a/b/c", "/admin", "/%2e%2e/etc"]
)
def test_unknown_path_answers_404_only_with_a_valid_key(served, path):
    """Without a valid key the answer is 401, so that strangers cannot learn which routes exist."""
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        assert served.send(method, path, "none").status_code == 401
        assert served.send(method, path, "wrong").status_code == 401
        assert served.send(method, path, "reader").status_code == 404


def test_request_without_key_is_refused_before_its_body_arrives(served):
    """The server must not wait for the body of a caller that it refuses."""
    with socket.create_connection((served.url.host, served.url.port), timeout=30) as connection:
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b'www-authenticate: Bearer realm="super-advanced-agents"' in answer.lower().replace(b"bearer", b"Bearer")


def test_request_with_a_foreign_origin_is_refused_for_any_method(served):
    """A valid key does not help, and public routes refuse it, too."""
    for method, path in (("GET", "/healthz"), ("POST", "/search"), ("DELETE", "/v1/agents/a"), ("OPTIONS", "/search")):
        request = served.client.build_request(
            method, path, headers={"Origin": "https://evil.example", "Connection": "close"}
        )
        assert served.client.send(request).status_code == 403


def test_openapi_document_lists_only_routes_with_an_access_row(served):
    """The document comes from the running server."""
    documented = served.client.get("/openapi.json", headers={"Connection": "close"}).json()["paths"]
    paths = {(method.upper(), path) for path, methods in documented.items() for method in methods}
    declared = {(method, re.sub(r":path\}", "}", path)) for method, path in ROWS}
    assert paths <= declared


def _grpc(served, name, caller, frame=b""):
    """Return the status of a call, and all bytes of its replies."""
    method = GRPC_METHODS[name]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    metadata = [] if caller == "none" else [("authorization", f"Bearer {served.keys[caller]}")]
    replies = []
    try:
        call = getattr(served.channel, kind)(f"/{name}")
        answer = call(iter([frame]) if method.client_streaming else frame, metadata=metadata, timeout=60)
        replies.extend(answer if method.server_streaming else [answer])
    except grpc.RpcError as exc:
        return exc.code().name, b"".join(replies) + repr(exc.trailing_metadata()).encode()
    return "OK", b"".join(replies)


def _grpc_request(name):
    """Return a request that names the planted data in every field that has room for it."""
    given = {"agent": "default", "query": "dawn", "query_text": "dawn", "vector": struct.pack("<4f", *VECTOR), "dim": 4}
    request = message_factory.GetMessageClass(GRPC_METHODS[name].input_type)()
    for field in request.DESCRIPTOR.fields:
        if field.name in ("uid", "name", "collection"):
            setattr(request, field.name, "planted")
        elif field.name == "uids":
            request.uids.append("planted")
        elif field.name in given and field.message_type is None and not field.is_repeated:
            setattr(request, field.name, given[field.name])
    return request.SerializeToString()


@pytest.mark.parametrize("name", GRPC_METHODS)
def test_grpc_method_admits_only_callers_with_its_scope(over_grpc, name):
    """The status is UNAUTHENTICATED without a valid key and PERMISSION_DENIED without the scope."""
    is_chat = name.rpartition("/")[2] in {"Chat", "ChatStream"}  # one that is remembered needs a further scope
    frame = agents_pb2.ChatRequest(remember=False).SerializeToString() if is_chat else b""
    statuses = {
        caller: _grpc(over_grpc, name, caller, frame)[0]
        for caller in (*REFUSED_CALLERS, *ALLOWED_CALLERS[ANY_KEY], "other")
    }
    assert {caller: statuses.pop(caller) for caller in REFUSED_CALLERS} == dict.fromkeys(
        REFUSED_CALLERS, "UNAUTHENTICATED"
    )
    admitted = {caller for caller, status in statuses.items() if status != "PERMISSION_DENIED"}
    assert admitted == ALLOWED_CALLERS[GRPC_EXPECTED[name]] | {"other"}
    assert not {"UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL", "UNKNOWN"} & set(statuses.values())


@pytest.mark.parametrize("name", GRPC_METHODS)
def test_grpc_method_shows_and_changes_nothing_of_another_tenant(over_grpc, name):
    """The caller is an administrator of another tenant and uses names that the default tenant has."""
    status, replies = _grpc(over_grpc, name, "other", _grpc_request(name))
    assert status not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
    assert SECRET_TEXT.encode() not in replies
    assert over_grpc.planted_data() == over_grpc.planted


def test_grpc_methods_show_planted_data_to_its_own_tenant(over_grpc):
    """The requests of the test above would therefore find the data if tenants were mixed."""
    for name in ("AgentService/GetMemory", "AgentService/SearchMemories", "VectorStoreService/Get"):
        full = f"super_advanced_agents.v1.{name}"
        assert SECRET_TEXT.encode() in _grpc(over_grpc, full, "admin", _grpc_request(full))[1]
