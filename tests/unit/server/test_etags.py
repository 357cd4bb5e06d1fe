"""Names of what reads answer with."""

from __future__ import annotations

import pytest

from super_advanced_agents.server.middleware.etags import LONGEST_BYTES, ETags


async def _get(body=b'{"a":1}', *, known=(), path="/v1/things", method="GET", status=200, headers=None, parts=None):
    """The response's head and body as they reach the client."""
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": own if headers is None else headers})
        pieces = parts or [body]
        for n, piece in enumerate(pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": n < len(pieces)})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"if-none-match", tag) for tag in known]}
    await ETags(app)(scope, None, send)
    head, *rest = sent
    return head["status"], dict(head["headers"]), b"".join(message["body"] for message in rest)


async def test_a_read_is_named_and_what_is_known_does_not_travel_again():
    """The same body has the same name; caches keep it for one caller, and ask each time."""
    status, headers, body = await _get()
    assert (status, body) == (200, b'{"a":1}')
    assert headers[b"cache-control"] == b"private, no-cache"
    assert headers[b"vary"] == b"Authorization, X-API-Key"
    tag = headers[b"etag"]
    status, again, body = await _get(known=[tag])
    assert (status, body) == (304, b"")
    assert again[b"etag"] == tag
    assert again[b"cache-control"] == b"private, no-cache"
    assert not any(name.startswith(b"content-") for name in again)
    assert (await _get(b'{"a":2}', known=[tag]))[0] == 200
    assert (await _get(b'{"a":2}'))[1][b"etag"] != tag


@pytest.mark.parametrize("form", [b'"x", %s', b"W/%s", b"%s ,W/%s", b"*"])
async def test_a_known_name_is_found_in_every_form(form):
    """In a list, made weak by a proxy, or any."""
    tag = (await _get())[1][b"etag"]
    known = form.replace(b"%s", tag)
    assert (await _get(known=[known]))[0] == 304
    assert (await _get(known=[b'"y"', known]))[0] == 304


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"path": "/search"},
        {"status": 404},
        {"headers": [(b"content-type", b"text/event-stream")]},
        {"headers": [(b"content-type", b"application/json")]},
        {"headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % (LONGEST_BYTES + 1))]},
        {"parts": [b'{"a"', b":1}"]},
    ],
)
async def test_nothing_else_is_named(change):
    """Writes, errors, streams, and what is too long or in parts go out as they are."""
    status, headers, body = await _get(known=[b"*"], **change)
    assert status == change.get("status", 200)
    assert body == b'{"a":1}'
    assert b"etag" not in headers
