"""Errors on OpenAI's paths, whoever made them."""

from __future__ import annotations

import orjson
import pytest

from super_advanced_agents.errors import InvalidInputError, RateLimitedError
from super_advanced_agents.protocol.problems import problem_of, retry_after
from super_advanced_agents.server.http.errors import problem_response
from super_advanced_agents.server.http.middleware.openai_errors import OpenAIErrors


async def _receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def _answer(app, path="/v1/chat/completions"):
    """Status, headers and body of what leaves."""
    sent = []

    async def send(message):
        sent.append(message)

    try:
        await OpenAIErrors(app)({"type": "http", "path": path, "method": "POST", "headers": []}, _receive, send)
    finally:
        _answer.sent = sent
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(message["body"] for message in rest)


def _refusing(error):
    return problem_response(problem_of(error), retry_after(error))


async def test_a_problem_leaves_in_openais_shape():
    """Its status and its headers stay; field and hint become what clients read."""
    status, headers, body = await _answer(_refusing(InvalidInputError("n is wrong", field="n", hint="leave it out")))
    assert status == 422
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    assert orjson.loads(body)["error"] == {
        "message": "n is wrong (leave it out)",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_input",
    }
    status, headers, body = await _answer(_refusing(RateLimitedError("too many", retry_after_s=3)), "/v1/models/a/b")
    assert (status, headers["retry-after"]) == (429, "3")
    assert orjson.loads(body)["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("path", ["/search", "/v1/modelsx", "/v1/embeddings/x", "/v1/agents/models/memories"])
async def test_other_paths_keep_their_problems(path):
    """As they are."""
    refused = _refusing(InvalidInputError("wrong"))
    assert (await _answer(refused, path))[2] == refused.body


async def test_a_surprise_is_told_in_the_same_shape_and_passed_on():
    """It is logged further out; the caller learns nothing of it."""

    async def broken(scope, receive, send):
        raise RuntimeError("secret")

    with pytest.raises(RuntimeError):
        await _answer(broken)
    start, body = _answer.sent
    assert start["status"] == 500
    assert orjson.loads(body["body"])["error"]["type"] == "server_error"
    assert b"secret" not in body["body"]


async def test_a_surprise_in_the_middle_of_an_answer_adds_nothing():
    """What has begun cannot become another answer."""

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await _answer(broken)
    assert [message["type"] for message in _answer.sent] == ["http.response.start"]
