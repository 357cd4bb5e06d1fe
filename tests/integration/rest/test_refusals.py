"""Wrong requests over REST are refused with a problem document, and store nothing."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/search", {}, "query"),
        ("/search", {"query": ""}, "query"),
        ("/search", {"query": "x", "top_k": 0}, "top_k"),
        ("/search", {"query": "x", "top_k": "many"}, "top_k"),
        ("/v1/agents/a/search", {"query": "x", "top_k": 10**400}, "top_k"),
        ("/v1/agents/a/search", {"query": "x", "tpo_k": 1}, "tpo_k"),
        ("/v1/agents/a/search", {"query": "x", "where": {"n": {"$odd": 1}}}, "n"),
        ("/v1/agents/a/memories", {"text": ""}, "text"),
        ("/v1/agents/a/memories", {"text": "nul\0"}, "text"),
        ("/v1/agents/a/memories", {"text": "x" * 70_000}, "text"),
        ("/v1/agents/a/memories", {"text": "x", "uid": ""}, "uid"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}, {"text": " "}]}, "memories[1].text"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}, {}]}, "memories[1].text"),
        (
            "/v1/agents/a/memories",
            {"memories": [{"text": "x"}, {"text": "y", "expires_in_s": -1}]},
            "memories[1].expires_in_s",
        ),
        ("/v1/agents/a/memories", {"memories": [{"text": "x", "extra": {"b": "x" * 20_000}}]}, "memories[0].extra"),
        ("/v1/agents/a/memories", {"memories": [{"text": "x"}] * 1_001}, "memories"),
        ("/v1/agents/a/memories", {"turns": [{"speaker": "A", "text": "x"}, {"speaker": "A"}]}, "turns[1].text"),
        ("/v1/agents/no%0Aname/memories", {"text": "x"}, "agent"),
        ("/v1/agents/a/ask", {"question": 5}, "question"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else None,
)
def test_wrong_input_is_refused_with_its_field_and_stores_nothing(rest, path, body, field):
    """The problem document is short, so it never repeats a long input."""
    answer = rest.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"].startswith(field)
    assert len(answer.text) < 2_000
    assert rest.get("/v1/agents/a/memories").json()["memories"] == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[1, 2]", 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "x", "extra": {"n": NaN}}', 422),
        (b'{"text": "x", "extra": {"n": 1' + b"0" * 30 + b"}}", 422),
        (b'{"text": "x", "extra": ' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"}", 422),
        (b'{"text": "x", "extra": {"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}", 422),
        (b'{"text": "caf\xe9"}', 422),
    ],
    ids=["empty", "broken", "list", "surrogate", "nan", "huge number", "deep", "very deep", "not utf-8"],
)
def test_malformed_json_is_refused_with_a_problem_document(rest, content, status):
    """The server goes on answering."""
    answer = rest.post("/v1/agents/a/memories", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert rest.get("/healthz").status_code == 200


def test_streamed_body_over_8_mib_is_refused(rest):
    """The body has no Content-Length, so the server counts the bytes as they arrive."""

    def chunks():
        for _ in range(10):
            yield b" " * (1 << 20)

    answer = rest.post("/search", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/search", {}, 405),
        ("POST", "/search", {"content-encoding": "gzip"}, 415),
        ("GET", "/v1/stats", {"host": "evil.example"}, 421),
        ("GET", "/v1/agents/a/memories?limit=0", {}, 422),
    ],
)
def test_every_refusal_is_a_problem_document(rest, method, path, headers, status):
    """Router, middleware and routes refuse requests in the same form."""
    answer = rest.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
