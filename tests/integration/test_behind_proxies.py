"""The files of `deploy/proxies` serve REST, streams and gRPC, and tell the server who calls."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

import grpc
import httpx2
import pytest
from tests.integration.proxied import ADDRESS, caddy, envoy, haproxy, is_installed, nginx

from super_advanced_agents import RemoteAgent
from super_advanced_agents.protocol import methods

PROXIES = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy, "envoy": envoy}
ORIGIN = "https://app.example.org"


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request, new_machine, tmp_path_factory):
    """Yield a proxy before a server that trusts it; its `key` is the server's."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    machine = new_machine(tmp_path_factory.mktemp("proxied") / "data")
    environment = {
        "SAA_TRUSTED_PROXIES": ADDRESS,
        "SAA_ROOT_PATH": "/saa",
        "SAA_ALLOWED_HOSTS": "memory.example.org",
        "SAA_ALLOWED_ORIGINS": ORIGIN,
    }
    folder = tmp_path_factory.mktemp(request.param)
    with machine.server(environment) as client:
        rest = client.startup_info["url"].removeprefix("http://")
        address = client.startup_info["grpc"].removeprefix("grpc://")
        with PROXIES[request.param](folder, rest, address) as running:
            running.key, running.server = machine.key, client.base_url
            while client.get("/readyz").status_code != 200:
                time.sleep(0.05)
            yield running


@pytest.fixture
def caller(proxy):
    """Yield an HTTP client of the proxy."""
    context = ssl.create_default_context(cafile=str(proxy.ca_file))
    headers = {"Authorization": f"Bearer {proxy.key}"}
    with httpx2.Client(base_url=proxy.url, headers=headers, verify=context, timeout=60, trust_env=False) as client:
        while client.get("/readyz").status_code != 200:  # HAProxy asks once a second
            time.sleep(0.05)
        yield client


@pytest.mark.parametrize("prefix", ["", "/saa"])
def test_memory_is_stored_and_found_through_a_proxy(caller, prefix):
    """The path prefix is the server's matter, whether the proxy strips it or not."""
    stored = caller.post(f"{prefix}/v1/agents/p{prefix[1:]}/memories", json={"text": "The pump is in hall 3."})
    assert stored.status_code == 200
    found = caller.post(f"{prefix}/v1/agents/p{prefix[1:]}/search", json={"query": "pump"}).json()
    assert found["results"][0]["text"] == "The pump is in hall 3."
    assert caller.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/saa"}]


def test_stream_is_not_buffered(caller):
    """The first event is read while the model still writes the rest."""
    caller.post("/v1/agents/s/memories", json={"text": "The pump in hall 3 was replaced in May."}).raise_for_status()
    body = {"question": "Where is the pump, and what was done to it?", "stream": True}
    with caller.stream("POST", "/v1/agents/s/ask", json=body) as response:
        pieces = [piece for piece in response.iter_raw() if piece]
    assert response.status_code == 200
    assert len(pieces) >= 5


def test_grpc_serves_an_agent_through_a_proxy(proxy, caller):
    """With the certificate of the proxy."""
    del caller  # the proxy has found the server ready
    with RemoteAgent(proxy.grpc_url, "g", api_key=proxy.key, ca_file=proxy.ca_file) as agent:
        agent.add_text_memory("The kiln is in hall 7.")
        assert agent.search_text("kiln")[0].text == "The kiln is in hall 7."


def test_caller_who_lies_about_an_address_is_named_by_the_proxy(proxy, caller):
    """Over REST and gRPC its claim changes nothing, and who calls beside the proxy is not believed either."""
    lie = "203.0.113.9"
    with httpx2.Client(base_url=proxy.server, headers=caller.headers, timeout=60) as direct:
        for client, name in ((caller, "lie-rest"), (direct, "lie-direct")):
            headers = {"X-Forwarded-For": lie, "X-Request-Id": name}
            client.post("/v1/agents/l/memories", json={"text": "x"}, headers=headers).raise_for_status()
    credentials = grpc.ssl_channel_credentials(proxy.ca_file.read_bytes())
    with grpc.secure_channel(proxy.grpc_url.removeprefix("grpcs://"), credentials) as channel:
        method = methods.FORGET
        call = channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.reply.FromString,
        )
        metadata = [("x-api-key", proxy.key), ("x-request-id", "lie-grpc"), ("x-forwarded-for", lie)]
        call(method.request(agent="l", uids=["none"], by_uids=True), metadata=metadata, timeout=60)
    told = {}
    while len(told) < 3:  # a thread writes the entries
        entries = caller.get("/v1/audit?limit=20").raise_for_status().json()["entries"]
        ids = [(entry.get("request_id", ""), entry["from"]) for entry in entries]  # the start's own entry has none
        told = {request_id: address for request_id, address in ids if request_id.startswith("lie-")}
    assert told.keys() == {"lie-rest", "lie-direct", "lie-grpc"}
    # Caddy listens on both loopback addresses; Envoy tells the machine's own address in place of loopback.
    assert all(_is_of_this_machine(address) for address in told.values()), told


def _is_of_this_machine(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


def test_allowed_origin_is_answered_with_its_headers_and_another_is_refused(caller):
    """Proxies hand the headers of CORS on."""
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert caller.options("/search", headers=headers).headers["access-control-allow-origin"] == ORIGIN
    assert caller.post("/search", json={"query": "x"}, headers={"Origin": "https://evil.example"}).status_code == 403
