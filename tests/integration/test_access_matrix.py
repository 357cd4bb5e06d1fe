"""Every route and every gRPC method, asked by everybody: who is let in, who is not, and that tenants stay apart.

A route or method without a row here fails, so whoever adds one says who may call it. The rows are written by hand, not
read off the rules they hold to account.
"""

from __future__ import annotations

import re
import socket
import struct

import grpc
import pytest
from fastapi.routing import iter_route_contexts
from google.protobuf import message_factory

from super_advanced_agents.protocol.operations import BY_ROUTE, BY_RPC
from super_advanced_agents.protocol.v1 import agents_pb2, orchestrators_pb2, vector_store_pb2
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.tenancy.settings import Settings

PUBLIC, SOMEBODY = "public", "somebody"
READ, WRITE, GENERATE, ADMIN = "memories:read", "memories:write", "generate", "admin"

MARK = "walruses sing at dawn"
"""Stands in what the default tenant has stored; nobody else may ever read it."""

VECTOR = [1.0, 0.0, 0.0, 0.0]
_COLLECTION, _MEMORIES = "/v1/collections/{collection}", "/v1/agents/{agent}/memories"

ROWS = {
    ("GET", "/openapi.json"): PUBLIC,
    ("HEAD", "/openapi.json"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("POST", "/search"): READ,
    ("GET", "/v1/stats"): READ,
    ("GET", "/v1/agents"): READ,
    ("GET", "/v1/agents/{agent}"): READ,
    ("PUT", "/v1/agents/{agent}"): ADMIN,
    ("DELETE", "/v1/agents/{agent}"): ADMIN,
    ("POST", "/v1/agents/{agent}/search"): READ,
    ("POST", "/v1/agents/{agent}/ask"): GENERATE,
    ("POST", _MEMORIES): WRITE,
    ("GET", _MEMORIES): READ,
    ("POST", f"{_MEMORIES}:scan"): READ,
    ("GET", f"{_MEMORIES}:count"): READ,
    ("POST", f"{_MEMORIES}:count"): READ,
    ("POST", f"{_MEMORIES}:forget"): WRITE,
    ("GET", f"{_MEMORIES}/{{uid:path}}"): READ,
    ("PATCH", f"{_MEMORIES}/{{uid:path}}"): WRITE,
    ("DELETE", f"{_MEMORIES}/{{uid:path}}"): WRITE,
    ("POST", "/v1/collections"): WRITE,
    ("GET", "/v1/collections"): READ,
    ("GET", _COLLECTION): READ,
    ("DELETE", _COLLECTION): WRITE,
    ("GET", f"{_COLLECTION}/stats"): READ,
    ("POST", f"{_COLLECTION}/records"): WRITE,
    ("PUT", f"{_COLLECTION}/records"): WRITE,
    ("PATCH", f"{_COLLECTION}/records"): WRITE,
    ("POST", f"{_COLLECTION}/records:get"): READ,
    ("POST", f"{_COLLECTION}/records:delete"): WRITE,
    ("POST", f"{_COLLECTION}/records:count"): READ,
    ("POST", f"{_COLLECTION}/records:scan"): READ,
    ("GET", f"{_COLLECTION}/records"): READ,
    ("GET", f"{_COLLECTION}/records/{{uid:path}}"): READ,
    ("DELETE", f"{_COLLECTION}/records/{{uid:path}}"): WRITE,
    ("POST", f"{_COLLECTION}/search"): READ,
    ("POST", f"{_COLLECTION}/search:batch"): READ,
    ("POST", f"{_COLLECTION}/search:hybrid"): READ,
    ("POST", f"{_COLLECTION}/search:keywords"): READ,
    ("GET", "/v1/orchestrators"): READ,
    ("GET", "/v1/orchestrators/{orchestrator}"): READ,
    ("POST", "/v1/orchestrators/{orchestrator}/route"): GENERATE,
    ("POST", "/v1/orchestrators/{orchestrator}/chain"): GENERATE,
    ("POST", "/v1/orchestrators/{orchestrator}/fallback"): GENERATE,
    ("POST", "/v1/orchestrators/{orchestrator}/parallel"): GENERATE,
    ("POST", "/v1/orchestrators/{orchestrator}/collaborate"): GENERATE,
    ("POST", "/v1/embeddings"): READ,
    ("POST", "/v1/chat/completions"): GENERATE,
    ("GET", "/v1/models"): READ,
    ("POST", "/mcp"): SOMEBODY,
    ("POST", "/mcp/{agent}"): SOMEBODY,
    ("GET", "/v1/models/{model:path}"): READ,
}
"""Method and path of every REST route, and what it asks for; `*` is a mount, which takes any method."""

BODIES = {
    "/search": {"query": "what do they do?"},
    "/v1/agents/{agent}/search": {"query": "what do they do?"},
    _MEMORIES: {"uid": "planted", "text": "of another tenant"},
    f"{_MEMORIES}:scan": {},
    f"{_MEMORIES}:count": {},
    f"{_MEMORIES}:forget": {"uids": ["planted"]},
    f"{_MEMORIES}/{{uid:path}}": {"text": "overwritten"},
    "/v1/collections": {"name": "planted", "dim": 4, "exist_ok": True},
    f"{_COLLECTION}/records": {"vectors": [VECTOR], "uids": ["planted"], "metadatas": [{}]},
    f"{_COLLECTION}/records:get": {"uids": ["planted"]},
    f"{_COLLECTION}/records:delete": {"uids": ["planted"]},
    f"{_COLLECTION}/records:count": {},
    f"{_COLLECTION}/records:scan": {},
    f"{_COLLECTION}/search": {"query_vector": VECTOR},
    f"{_COLLECTION}/search:batch": {"query_vectors": [VECTOR]},
    f"{_COLLECTION}/search:hybrid": {"query_vector": VECTOR, "query_text": "dawn"},
    f"{_COLLECTION}/search:keywords": {"query_text": "dawn"},
}
"""What another tenant sends where it can, so that its call goes all the way; `{}` elsewhere."""

GRPC_ROWS = {
    "VectorStoreService": {
        READ: "Search SearchStream SearchHybrid SearchKeywords Get Count Scan ScanStream Stats GetCollection"
        " ListCollections",
        WRITE: "Add AddStream Put Update Delete CreateCollection DeleteCollection",
    },
    "AgentService": {
        READ: "SearchMemories GetMemory ListMemories CountMemories ListAgents GetAgent",
        WRITE: "Remember RememberTurns UpdateMemory Forget",
        GENERATE: "Ask AskStream",
        ADMIN: "PutAgent DeleteAgent",
    },
    "OrchestratorService": {READ: "Supervise ListOrchestrators", GENERATE: "Route Chain Fallback Parallel Collaborate"},
}
"""The same of gRPC: service, what is asked for, methods."""

GRPC_METHODS = {
    f"{service.full_name}/{method.name}": method
    for file in (vector_store_pb2, agents_pb2, orchestrators_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
GRPC_EXPECTED = {
    f"super_advanced_agents.v1.{service}/{name}": access
    for service, by_access in GRPC_ROWS.items()
    for access, names in by_access.items()
    for name in names.split()
}
OPEN_TO = {
    READ: {"reader", "admin"},
    WRITE: {"writer", "admin"},
    GENERATE: {"generator", "admin"},
    ADMIN: {"admin"},
    SOMEBODY: {"reader", "writer", "generator", "admin"},
}
UNKNOWN = ("none", "wrong", "revoked", "expired")


class Served:
    """A server with something of the default tenant in it, and a credential of every kind."""

    def __init__(self, client, keys):
        self.client = client
        self.url = client.base_url
        self.keys = keys
        self.channel = None
        self.planted = None

    def ask(self, method, path, caller, body=None):
        request = self.client.build_request(method, path, json=body)
        del request.headers["authorization"]
        if caller != "none":
            request.headers["authorization"] = f"Bearer {self.keys[caller]}"
        return self.client.send(request)

    def see(self):
        """What the default tenant has of what was planted."""
        paths = (
            "/v1/agents/default/memories/planted",
            "/v1/collections/planted/records/planted",
            "/v1/collections/planted",
            "/v1/agents/default/memories:count",
        )
        return [self.ask("GET", path, "admin").raise_for_status().json() for path in paths]


@pytest.fixture(scope="module")
def served_keys(shared_machine):
    """Made before the server starts, as `saa keys create` does; so it makes none itself."""
    table = KeyTable(Settings.load(data_dir=shared_machine.data_dir).server_dir)
    made = {
        name: table.create(tenant=tenant, scopes=[scope])
        for name, tenant, scope in (
            ("reader", "default", READ),
            ("writer", "default", WRITE),
            ("generator", "default", GENERATE),
            ("admin", "default", ADMIN),
            ("revoked", "default", ADMIN),
            ("other", "globex", ADMIN),
        )
    }
    soon = table.create(tenant="default", scopes=[ADMIN], expires_in_s=0.001)
    table.revoke(made["revoked"].id)
    table.close()
    keys = {name: each.key for name, each in made.items()}
    keys |= {"expired": soon.key, "wrong": keys["admin"][:-4] + "AAAA"}
    shared_machine.key = keys["admin"]
    return keys


@pytest.fixture(scope="module")
def served(shared_machine, served_keys):
    with shared_machine.server() as client:
        assert "admin_key" not in client.told
        made = Served(client, served_keys)
        note = {"uid": "planted", "text": MARK}
        made.ask("POST", "/v1/agents/default/memories", "admin", note).raise_for_status()
        for tenant in ("admin", "other"):
            made.ask("POST", "/v1/collections", tenant, {"name": "planted", "dim": 4}).raise_for_status()
        record = {"vectors": [VECTOR], "uids": ["planted"], "metadatas": [{"text": MARK}]}
        made.ask("POST", "/v1/collections/planted/records", "admin", record).raise_for_status()
        made.planted = made.see()
        with grpc.insecure_channel(client.told["grpc"].removeprefix("grpc://")) as made.channel:
            grpc.channel_ready_future(made.channel).result(60)  # else its socket would count as a test's
            yield made


def _routes():
    """Every method and path of the application; `*` for what takes any."""
    for context in iter_route_contexts(create_app(Settings.load()).routes):
        if context.path is None:  # a shortcut to others; what has no row is answered with 404 before it is asked
            continue
        for method in context.methods or {"*"}:
            yield method, context.path


def _filled(path, name):
    return re.sub(r"\{[^}]*\}", name, path)


def test_every_route_has_a_row():
    """And every row a route."""
    assert set(_routes()) == set(ROWS)


def test_every_grpc_method_has_a_row():
    """And every row a method."""
    assert set(GRPC_METHODS) == set(GRPC_EXPECTED)


def test_the_table_of_operations_says_what_the_rows_say():
    """Of every route and every method; the rows are the check on the table, which all else reads."""
    assert {route: _asked(row) for route, row in BY_ROUTE.items()} == ROWS
    assert {path.removeprefix("/"): _asked(row) for path, row in BY_RPC.items()} == GRPC_EXPECTED


def _asked(row):
    return PUBLIC if row.public else SOMEBODY if row.access is None else row.access.value


@pytest.mark.parametrize(("method", "path"), ROWS, ids=lambda value: value)
def test_a_route_opens_to_those_it_is_for(served, method, path):
    """401 to strangers, 403 to those without the scope, neither to the others; on names that nothing has."""
    expected = ROWS[method, path]
    asked, where = ("POST" if method == "*" else method), _filled(path, "nothing-here")
    statuses = {caller: served.ask(asked, where, caller, {}).status_code for caller in (*UNKNOWN, *OPEN_TO[SOMEBODY])}
    if expected is PUBLIC:
        assert not {401, 403} & set(statuses.values())
        return
    assert {caller: statuses.pop(caller) for caller in UNKNOWN} == dict.fromkeys(UNKNOWN, 401)
    let_in = {caller for caller, status in statuses.items() if status != 403}
    assert let_in == OPEN_TO[expected]
    assert all(status == 403 or (status != 401 and status < 500) for status in statuses.values()), statuses


@pytest.mark.parametrize(("method", "path"), ROWS, ids=lambda value: value)
def test_another_tenant_finds_and_changes_nothing(served, method, path):
    """An administrator there, with the very names that are taken here."""
    asked = "POST" if method == "*" else method
    answer = served.ask(asked, _filled(path, "planted"), "other", BODIES.get(path, {}))
    assert answer.status_code not in {401, 403}
    assert MARK not in answer.text
    default = path.replace("{agent}", "default")
    assert MARK not in served.ask(asked, _filled(default, "planted"), "other", BODIES.get(path, {})).text
    assert served.see() == served.planted


@pytest.mark.parametrize("path", sorted({path for _, path in ROWS}))
def test_a_method_that_a_path_does_not_have_is_told_to_those_with_a_key(served, path):
    """405, and 401 to everybody else: nobody learns by other methods what is there."""
    here = {method for method, other in ROWS if other == path}
    where = _filled(path, "nothing-here")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - here:
        if "*" not in here:
            assert (served.ask(method, where, "none").status_code, method) == (401, method)
            assert (served.ask(method, where, "reader").status_code, method) == (405, method)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/v1", "/search/", "//search", "/v1/agents/a/b/c", "/admin", "/%2e%2e/etc"]
)
def test_a_path_that_does_not_exist_is_told_to_those_with_a_key(served, path):
    """404, and 401 to everybody else."""
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        assert served.ask(method, path, "none").status_code == 401
        assert served.ask(method, path, "wrong").status_code == 401
        assert served.ask(method, path, "reader").status_code == 404


def test_the_check_comes_before_the_body(served):
    """The answer is there while the body is not."""
    with socket.create_connection((served.url.host, served.url.port), timeout=30) as connection:
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        told = connection.recv(4096)
    assert told.startswith(b"HTTP/1.1 401")
    assert b'www-authenticate: Bearer realm="super-advanced-agents"' in told.lower().replace(b"bearer", b"Bearer")


def test_pages_of_other_sites_are_turned_away_with_any_method(served):
    """Even with a key, and from what is public."""
    for method, path in (("GET", "/healthz"), ("POST", "/search"), ("DELETE", "/v1/agents/a"), ("OPTIONS", "/search")):
        request = served.client.build_request(method, path, headers={"Origin": "https://evil.example"})
        assert served.client.send(request).status_code == 403


def test_the_schema_tells_of_every_route_that_is_ours(served):
    """What the real server says of itself is what the rows hold."""
    told = served.client.get("/openapi.json").json()["paths"]
    paths = {(method.upper(), path) for path, methods in told.items() for method in methods}
    ours = {(method, re.sub(r":path\}", "}", path)) for method, path in ROWS}
    assert paths <= ours


def _grpc(served, name, caller, frame=b""):
    """The status of a call, and all that came back, as bytes."""
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
    """A request with the names that are taken, wherever its fields have room for them."""
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
def test_a_grpc_method_opens_to_those_it_is_for(served, name):
    """As REST does: UNAUTHENTICATED to strangers, PERMISSION_DENIED to those without the scope."""
    statuses = {caller: _grpc(served, name, caller)[0] for caller in (*UNKNOWN, *OPEN_TO[SOMEBODY], "other")}
    assert {caller: statuses.pop(caller) for caller in UNKNOWN} == dict.fromkeys(UNKNOWN, "UNAUTHENTICATED")
    let_in = {caller for caller, status in statuses.items() if status != "PERMISSION_DENIED"}
    assert let_in == OPEN_TO[GRPC_EXPECTED[name]] | {"other"}
    assert not {"UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL", "UNKNOWN"} & set(statuses.values())


@pytest.mark.parametrize("name", GRPC_METHODS)
def test_another_tenant_finds_and_changes_nothing_over_grpc(served, name):
    """An administrator there, with the very names that are taken here."""
    status, told = _grpc(served, name, "other", _grpc_request(name))
    assert status not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
    assert MARK.encode() not in told
    assert served.see() == served.planted


def test_what_was_planted_can_be_found_over_grpc(served):
    """By those it belongs to: the requests above would find it."""
    for name in ("AgentService/GetMemory", "AgentService/SearchMemories", "VectorStoreService/Get"):
        full = f"super_advanced_agents.v1.{name}"
        assert MARK.encode() in _grpc(served, full, "admin", _grpc_request(full))[1]
