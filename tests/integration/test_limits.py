"""A real server enforces every limit of a request exactly, and reports rate limits, deadlines and field names."""

from __future__ import annotations

import json
import socket

import httpx2
import pytest
from tests.integration.conftest import Machine

AGENT = "/v1/agents/limits"
MEMORIES, SEARCH = f"{AGENT}/memories", f"{AGENT}/search"
VECTORS = "/v1/collections/limits"
ALLOWANCE, LATE_S = 30, 2


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Yield a client of a server with the limits that servers have."""
    with Machine(tmp_path_factory.mktemp("limited") / "data").server() as client:
        client.post("/v1/collections", json={"name": "limits", "dim": 3}).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Yield a client of a server with short deadlines and a small rate limit."""
    environment = {
        "SAA_HEADER_TIMEOUT_S": str(LATE_S),
        "SAA_BODY_TIMEOUT_S": str(LATE_S),
        "SAA_RATE_LIMIT_PER_KEY": str(ALLOWANCE),
    }
    with Machine(tmp_path_factory.mktemp("strict") / "data").server(environment) as client:
        yield client


def _nested(depth):
    return {"a": _nested(depth - 1)} if depth > 1 else {"a": 1}


def _filter_of(count):
    return {"query": "x", "where": {"$or": [{"n": n} for n in range(count)]}}


OVER_LIMIT = [
    ("text", MEMORIES, {"text": "x" * 65_537}, "text", "65536"),
    ("text in bytes", MEMORIES, {"text": "é" * 32_769}, "text", "65536"),
    ("question", SEARCH, {"query": "x" * 65_537}, "query", "65536"),
    ("metadata", MEMORIES, {"text": "x", "extra": {"a": "b" * 16_384}}, "extra", "16384"),
    ("depth", MEMORIES, {"text": "x", "extra": _nested(9)}, "extra", "8"),
    ("batch", MEMORIES, {"memories": [{"text": "x"}] * 1_001}, "memories", "1000"),
    ("top_k", SEARCH, {"query": "x", "top_k": 1_001}, "top_k", "1000"),
    ("no top_k", SEARCH, {"query": "x", "top_k": 0}, "top_k", "1"),
    ("filter", SEARCH, _filter_of(65), "where", "64"),
    ("values", SEARCH, {"query": "x", "where": {"a": {"$in": list(range(1_001))}}}, "a", "1000"),
    ("filter bytes", SEARCH, {"query": "x", "where": {"a": "x" * 65_537}}, "a", "65536"),
    ("values to forget", f"{MEMORIES}:forget", {"where": {"a": {"$nin": list(range(1_001))}}}, "a", "1000"),
    ("values to ask", f"{AGENT}/ask", {"question": "x", "where": {"a": {"$in": [[0] * 1_001]}}}, "a", "1000"),
    ("uid", MEMORIES, {"text": "x", "uid": "u" * 257}, "uid", "256"),
    ("name", f"/v1/agents/{'a' * 257}/search", {"query": "x"}, "agent", "256"),
    ("collection", "/v1/collections", {"name": "_a", "dim": 3}, "name", "64"),
    ("vectors", f"{VECTORS}/records", {"vectors": [[1, 0, 0]] * 1_001}, "vectors", "1000"),
    ("matches", f"{VECTORS}/search:batch", {"query_vectors": [[1, 0, 0]] * 101, "top_k": 1_000}, "top_k", "100000"),
    ("dimension", f"{VECTORS}/search", {"query_vector": [1, 0]}, "query_vector", "3"),
    ("infinity", f"{VECTORS}/records", {"vectors": [[1e39, 0, 0]]}, "vectors", "finite"),
    ("zero", f"{VECTORS}/records", {"vectors": [[0, 0, 0]]}, "vectors", "zero"),
]


@pytest.mark.parametrize(
    ("path", "body", "field", "limit"), [row[1:] for row in OVER_LIMIT], ids=[row[0] for row in OVER_LIMIT]
)
def test_request_over_a_limit_is_refused_with_field_and_limit(client, path, body, field, limit):
    """The status is 422, and nothing is stored."""
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["field"].startswith(field), problem
    assert limit in problem["detail"] + problem.get("hint", ""), problem
    assert client.get(f"{VECTORS}/stats").json()["records"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SEARCH, {"query": "x", "top_k": 1_000}),
        (SEARCH, _filter_of(64)),
        ("/v1/agents/within/memories", {"text": "y", "extra": _nested(8), "uid": "u" * 256}),
        ("/v1/agents/within/memories", {"text": "z", "extra": {"a": "b" * 16_000}}),
        ("/v1/agents/within/memories", {"text": "é " * 21_845}),
        (f"/v1/agents/{'a' * 64}/search", {"query": "x"}),
    ],
    ids=["top_k", "filter", "depth and uid", "metadata", "text", "name"],
)
def test_request_at_a_limit_is_accepted(client, path, body):
    """Each request has the largest value that is allowed."""
    assert client.post(path, json=body).status_code == 200


def test_body_over_8_mib_is_refused_with_or_without_content_length(client):
    """The server counts the bytes as they arrive and names the limit in a 413."""
    for content in (b" " * (8 * 1024 * 1024 + 1), (b" " * 65_536 for _ in range(129))):
        answer = client.post(SEARCH, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert str(8 * 1024 * 1024) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"headers"),
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: 9\r\n\r\n{", b"body"),
    ],
    ids=["headers", "body"],
)
def test_request_that_arrives_too_slowly_is_answered_408(strict, sent, part):
    """The server closes the connection afterwards."""
    with socket.create_connection((strict.base_url.host, strict.base_url.port), timeout=60) as connection:
        connection.sendall(sent.replace(b"{}", strict.headers["Authorization"].encode()))
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert part + b" did not arrive within %d s" % LATE_S in answer


def test_request_timeout_header_shortens_the_deadline(client):
    """An expired deadline is answered with 504, and an invalid header with 422."""
    answer = client.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "0.000001"})
    assert answer.status_code == 504
    answer = client.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "soon"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Request-Timeout")
    assert client.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "30"}).status_code == 200


def test_rate_limit_headers_count_down_until_requests_are_refused(strict):
    """Texts cost more than calls. This test is the last one because it uses up the rate limit."""
    first = strict.get(MEMORIES).headers
    assert first["RateLimit-Limit"] == str(ALLOWANCE)
    strict.post(MEMORIES, json={"memories": [{"text": f"text {n}"} for n in range(5)]}).raise_for_status()
    after = strict.get(MEMORIES).headers
    assert int(after["RateLimit-Remaining"]) <= int(first["RateLimit-Remaining"]) - 5
    assert int(after["RateLimit-Reset"]) > 0
    while (refused := strict.get(MEMORIES)).status_code == 200:
        pass
    assert refused.status_code == 429
    assert refused.json()["error"] == "RateLimitedError"
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert int(refused.headers["Retry-After"]) >= 1
    with httpx2.Client(base_url=strict.base_url, timeout=60) as stranger:
        assert stranger.get("/healthz").status_code == 200  # what is public goes on
        assert json.loads(stranger.get(MEMORIES).content)["status"] == 401
