"""Test the shape of errors on OpenAI's paths, whatever raised them."""

from __future__ import annotations

import orjson
import pytest

from super_advanced_agents.errors import InvalidInputError, RateLimitedError
from super_advanced_agents.protocol.problems import problem_of, retry_after
from super_advanced_agents.server.http.errors import problem_response
from super_advanced_agents.server.http.middleware.openai_errors import OpenAIErrors


async def _receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def _response_of(app, path="/v1/chat/completions"):
    """Return the status, the headers and the body of a response."""
    sent = []

    async def send(message):
        sent.append(message)

    try:
        await OpenAIErrors(app)({"type": "http", "path": path, "method": "POST", "headers": []}, _receive, send)
    finally:
        _response_of.sent = sent
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(message["body"] for message in rest)


def _refusing(error):
    return problem_response(problem_of(error), retry_after(error))


async def test_problem_on_an_openai_path_becomes_an_openai_error():
    """Status and headers stay; the field and the hint become OpenAI's members."""
    status, headers, body = await _response_of(
        _refusing(InvalidInputError("n is wrong", field="n", hint="leave it out"))
    )
    assert status == 422
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    assert orjson.loads(body)["error"] == {
        "message": "n is wrong (leave it out)",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_input",
    }
    status, headers, body = await _response_of(
        _refusing(RateLimitedError("too many", retry_after_s=3)), "/v1/models/a/b"
    )
    assert (status, headers["retry-after"]) == (429, "3")
    assert orjson.loads(body)["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("path", ["/search", "/v1/modelsx", "/v1/embeddings/x", "/v1/agents/models/memories"])
async def test_problem_on_another_path_is_unchanged(path):
    """The paths only resemble those of OpenAI."""
    refused = _refusing(InvalidInputError("wrong"))
    assert (await _response_of(refused, path))[2] == refused.body


async def test_unexpected_error_on_an_openai_path_is_answered_500_and_raised():
    """It is logged further out, and its message is not sent."""

    async def broken(scope, receive, send):
        raise RuntimeError("secret")

    with pytest.raises(RuntimeError):
        await _response_of(broken)
    start, body = _response_of.sent
    assert start["status"] == 500
    assert orjson.loads(body["body"])["error"]["type"] == "server_error"
    assert b"secret" not in body["body"]


async def test_unexpected_error_after_the_response_began_sends_nothing_more():
    """A response that has begun cannot become another one."""

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await _response_of(broken)
    assert [message["type"] for message in _response_of.sent] == ["http.response.start"]
