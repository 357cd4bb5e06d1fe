"""Addresses beside the memories: probes, statistics, the OpenAPI document and MCP."""

from __future__ import annotations

import socket

import pytest


def test_openapi_document_describes_the_main_routes(rest):
    """Authors of clients read it."""
    paths = rest.get("/openapi.json").json()["paths"]
    assert {"/search", "/healthz", "/readyz", "/v1/agents/{agent}/ask"} <= set(paths)


def test_stats_show_the_tenants_counts_and_no_paths(rest):
    """They describe the engine and nothing of the machine."""
    stats = rest.get("/v1/stats").json()
    assert set(stats) == {"agents", "collections", "embedding_model", "results", "store"}
    assert set(stats["store"]) == {"engine", "dim", "metric", "index"}


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/guide", "/mcp/guide/"])
def test_address_of_mcp_may_end_in_a_slash(rest, path):
    """People paste it so."""
    headers = {"accept": "application/json, text/event-stream"}
    answer = rest.post(path, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_are_answered_under_the_address_of_a_container(rest, path, method):
    """Orchestrators know no name of the server, and load balancers ask with HEAD."""
    answer = rest.request(method, path, headers={"host": "10.9.8.7:8000"})
    assert answer.status_code == 200
    assert bool(answer.content) is (method == "GET")


def test_spaces_around_the_value_of_a_header_are_no_part_of_it(rest, shared_machine):
    """Keys are pasted with them."""
    with socket.create_connection((rest.base_url.host, rest.base_url.port)) as connection:
        key = shared_machine.key
        head = f"GET /v1/stats HTTP/1.1\r\nHost:\t localhost \r\nX-API-Key:  {key} \t\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.makefile("rb").readline().split()[1] == b"200"
