"""Every limit of a request, one over and just within, and what a caller learns of allowances, deadlines and names."""

from __future__ import annotations

import json
import socket

import httpx2
import pytest
from tests.integration.conftest import Machine

AGENT = "/v1/agents/limits"
MEMORIES, SEARCH = f"{AGENT}/memories", f"{AGENT}/search"
VECTORS = "/v1/collections/limits"
ALLOWANCE = 600


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A client of a server with short deadlines and a small allowance."""
    environment = {
        "SAA_HEADER_TIMEOUT_S": "0.3",
        "SAA_BODY_TIMEOUT_S": "0.3",
        "SAA_RATE_LIMIT_PER_KEY": str(ALLOWANCE),
    }
    with Machine(tmp_path_factory.mktemp("limited") / "data").server(environment) as client:
        client.post("/v1/collections", json={"name": "limits", "dim": 3}).raise_for_status()
        yield client


def _nested(depth):
    return {"a": _nested(depth - 1)} if depth > 1 else {"a": 1}


def _terms(count):
    return {"query": "x", "where": {"$or": [{"n": n} for n in range(count)]}}


BROKEN = [
    ("text", MEMORIES, {"text": "x" * 65_537}, "text", "65536"),
    ("text in bytes", MEMORIES, {"text": "é" * 32_769}, "text", "65536"),
    ("question", SEARCH, {"query": "x" * 65_537}, "query", "65536"),
    ("metadata", MEMORIES, {"text": "x", "extra": {"a": "b" * 16_384}}, "extra", "16384"),
    ("depth", MEMORIES, {"text": "x", "extra": _nested(9)}, "extra", "8"),
    ("batch", MEMORIES, {"memories": [{"text": "x"}] * 1_001}, "memories", "1000"),
    ("top_k", SEARCH, {"query": "x", "top_k": 1_001}, "top_k", "1000"),
    ("no top_k", SEARCH, {"query": "x", "top_k": 0}, "top_k", "1"),
    ("filter", SEARCH, _terms(65), "where", "64"),
    ("uid", MEMORIES, {"text": "x", "uid": "u" * 257}, "uid", "256"),
    ("name", f"/v1/agents/{'a' * 65}/search", {"query": "x"}, "agent", "64"),
    ("collection", "/v1/collections", {"name": "_a", "dim": 3}, "name", "64"),
    ("vectors", f"{VECTORS}/records", {"vectors": [[1, 0, 0]] * 1_001}, "vectors", "1000"),
    ("dimension", f"{VECTORS}/search", {"query_vector": [1, 0]}, "query_vector", "3"),
    ("infinity", f"{VECTORS}/records", {"vectors": [[1e39, 0, 0]]}, "vectors", "finite"),
    ("zero", f"{VECTORS}/records", {"vectors": [[0, 0, 0]]}, "vectors", "zero"),
]


@pytest.mark.parametrize(
    ("path", "body", "field", "limit"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_what_breaks_a_limit_is_told_the_field_and_the_limit(limited, path, body, field, limit):
    """422, and nothing is stored."""
    answer = limited.post(path, json=body)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["field"].startswith(field), problem
    assert limit in problem["detail"] + problem.get("hint", ""), problem
    assert limited.get(f"{VECTORS}/stats").json()["records"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SEARCH, {"query": "x", "top_k": 1_000}),
        (SEARCH, _terms(64)),
        ("/v1/agents/within/memories", {"text": "y", "extra": _nested(8), "uid": "u" * 256}),
        ("/v1/agents/within/memories", {"text": "z", "extra": {"a": "b" * 16_000}}),
        ("/v1/agents/within/memories", {"text": "é " * 21_845}),
        (f"/v1/agents/{'a' * 64}/search", {"query": "x"}),
    ],
    ids=["top_k", "filter", "depth and uid", "metadata", "text", "name"],
)
def test_what_is_just_within_a_limit_passes(limited, path, body):
    """The largest of each."""
    assert limited.post(path, json=body).status_code == 200


def test_a_body_is_counted_while_it_streams(limited):
    """413 with the limit, whether or not its length was announced."""
    for content in (b" " * (8 * 1024 * 1024 + 1), (b" " * 65_536 for _ in range(129))):
        answer = limited.post(SEARCH, content=content, headers={"Content-Type": "application/json"})
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
def test_what_does_not_arrive_in_time_is_answered_408(limited, sent, part):
    """And the connection is closed."""
    with socket.create_connection((limited.base_url.host, limited.base_url.port), timeout=60) as line:
        line.sendall(sent.replace(b"{}", limited.headers["Authorization"].encode()))
        told = b""
        while chunk := line.recv(65_536):
            told += chunk
    assert told.startswith(b"HTTP/1.1 408 ")
    assert part + b" did not arrive within 0.3 s" in told


def test_a_caller_may_ask_for_less_time(limited):
    """504 when it is over; what is no time is refused by its name."""
    answer = limited.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "0.000001"})
    assert answer.status_code == 504
    answer = limited.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "soon"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Request-Timeout")
    assert limited.post(SEARCH, json={"query": "quick"}, headers={"Request-Timeout": "30"}).status_code == 200


def test_an_allowance_is_counted_down_and_ends(limited):
    """Texts cost more than calls; the last test here, since nothing is left after it."""
    first = limited.get(MEMORIES).headers
    assert first["RateLimit-Limit"] == str(ALLOWANCE)
    limited.post(MEMORIES, json={"memories": [{"text": f"text {n}"} for n in range(5)]}).raise_for_status()
    after = limited.get(MEMORIES).headers
    assert int(after["RateLimit-Remaining"]) <= int(first["RateLimit-Remaining"]) - 5
    assert int(after["RateLimit-Reset"]) > 0
    answers = (limited.get(MEMORIES) for _ in range(ALLOWANCE))
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert refused.status_code == 429
    assert refused.json()["error"] == "RateLimitedError"
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert int(refused.headers["Retry-After"]) >= 1
    with httpx2.Client(base_url=limited.base_url) as stranger:
        assert stranger.get("/healthz").status_code == 200  # what is public goes on
        assert json.loads(stranger.get(MEMORIES).content)["status"] == 401
