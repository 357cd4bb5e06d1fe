"""Who gets past the door, and what those outside are told; driven through the middleware by hand."""

from __future__ import annotations

import orjson
import pytest
from tests.unit.server.piped import Piped, operation

from super_advanced_agents.errors import AuthenticationError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.server.http.middleware.hosts import AllowedHosts, CrossOrigin
from super_advanced_agents.tenancy.context import ANYBODY, Access, current_context
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.load(data_dir=tmp_path / "data")


@pytest.fixture
def keys(settings):
    """A reader's and an admin's."""
    table = KeyTable(settings.server_dir)
    made = {
        name: table.create(tenant="acme", scopes=[scope]).key
        for name, scope in (("reader", "memories:read"), ("admin", "admin"))
    }
    table.close()
    return made


class ConnectionSettings:
    """The middleware in front of an application that only notes who came."""

    def __init__(self, authenticator):
        self._middleware = Piped(
            self._inside,
            operation("GET", "/open", public=True),
            operation("GET", "/read", access=Access.READ),
            operation("POST", "/write", access=Access.WRITE),
            authenticator=authenticator,
        )
        self.sent = []
        self.caller = None

    async def ask(self, method, path, *headers):
        """The status, or None when the request went through."""
        self.sent, self.caller = [], "not reached"
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        await self._middleware(scope, self._receive, self._send)
        return self.sent[0]["status"] if self.sent else None

    @property
    def problem(self):
        return orjson.loads(self.sent[1]["body"])

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    async def _inside(self, scope, receive, send):
        try:
            self.caller = current_context().principal
        except LookupError:
            self.caller = None

    async def _receive(self):
        raise AssertionError("the body is not to be read")

    async def _send(self, message):
        self.sent.append(message)


@pytest.fixture
async def door(settings, keys):
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        yield ConnectionSettings(authenticator)


def bearer(key):
    return (b"authorization", f"Bearer {key}".encode())


async def test_a_key_opens_what_it_is_for(door, keys):
    """In either header, or in both when they say the same; the body is not touched."""
    for headers in (
        [bearer(keys["reader"])],
        [(b"authorization", b"bEARER  " + keys["reader"].encode())],
        [(b"x-api-key", keys["reader"].encode())],
        [bearer(keys["reader"]), (b"x-api-key", keys["reader"].encode())],
    ):
        assert await door.ask("GET", "/read", *headers) is None
        assert door.caller.tenant == "acme"
    assert await door.ask("POST", "/write", bearer(keys["admin"])) is None


async def test_a_key_opens_nothing_else(door, keys):
    """403, and the scope that is missing; a route without a row is closed to everybody."""
    assert await door.ask("POST", "/write", bearer(keys["reader"])) == 403
    assert door.headers["www-authenticate"].endswith('error="insufficient_scope", scope="memories:write"')
    assert "memories:write" in door.problem["detail"]
    assert await door.ask("GET", "/forgotten", bearer(keys["admin"])) == 404
    assert await door.ask("GET", "/forgotten") == 401
    assert door.caller == "not reached"


async def test_what_is_public_needs_no_key_and_gets_no_tenant(door):
    """Not even with a key, right or wrong."""
    assert await door.ask("GET", "/open") is None
    assert door.caller is None
    assert await door.ask("GET", "/open", bearer("wrong")) is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/read"), ("GET", "/nowhere"), ("POST", "/read"), ("OPTIONS", "/")]
)
async def test_without_a_key_nothing_is_told_apart(door, method, path):
    """What exists, what does not, and what has no such method."""
    assert await door.ask(method, path) == 401
    assert door.headers["www-authenticate"] == 'Bearer realm="super-advanced-agents"'
    assert door.problem["error"] == "AuthenticationError"


async def test_with_a_key_what_does_not_exist_is_told(door, keys):
    """404, or 405 with the methods there are; the router is not asked."""
    assert await door.ask("GET", "/nowhere", bearer(keys["reader"])) == 404
    assert await door.ask("POST", "/read", bearer(keys["reader"])) == 405
    assert door.headers["allow"] == "GET"
    assert door.caller == "not reached"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Basic c2FhOnNhYQ==")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"\xff\xfe")],
        [(b"authorization", b"Bearer saa_aaaaaaaaaaaa_" + b"A" * 43)],
        [(b"authorization", b"Bearer eyJhbGciOiJub25lIn0.e30.")],
    ],
)
async def test_what_is_not_a_key_is_refused(door, headers):
    """Whatever its form; it is not repeated."""
    assert await door.ask("GET", "/read", *headers) == 401
    assert headers[0][1].partition(b" ")[2] not in door.sent[1]["body"] or not headers[0][1].partition(b" ")[2]


async def test_two_credentials_are_refused(door, keys):
    """Whoever put the second one there may not be the caller."""
    reader, admin = keys["reader"], keys["admin"]
    assert await door.ask("GET", "/read", bearer(reader), (b"x-api-key", admin.encode())) == 401
    assert "two different" in door.problem["detail"]
    assert await door.ask("GET", "/read", bearer(reader), bearer(reader)) == 401
    assert "twice" in door.problem["detail"]


async def test_without_authentication_everybody_is_let_in_and_nothing_is_written(tmp_path):
    """`--no-auth`: as the default tenant; what has no row stays closed."""
    settings = Settings.load(data_dir=tmp_path / "data", auth=False)
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        door = ConnectionSettings(authenticator)
        assert await door.ask("POST", "/write", bearer("anything")) is None
        assert door.caller is ANYBODY
        assert await door.ask("GET", "/forgotten") == 404
    assert not settings.data_dir.exists()


async def test_no_websocket_gets_in(door):
    """None is served, so none needs a rule."""
    sent = []

    async def send(message):
        sent.append(message)

    await door._middleware({"type": "websocket", "path": "/read", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_credentials_never_show(settings, keys):
    """Neither in an error nor in a repr."""
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        with pytest.raises(AuthenticationError) as caught:
            await authenticator.authenticate(authorization="Bearer " + keys["admin"] + "x", api_key=None)
        assert keys["admin"] not in repr(caught.value) + str(caught.value)
        assert keys["admin"] not in repr(await authenticator.authenticate(authorization=None, api_key=keys["admin"]))


@pytest.mark.parametrize(
    ("host", "origins", "reached"),
    [
        (b"127.0.0.1:8000", [], True),
        (b"127.0.0.1:8000", [b"http://127.0.0.1:8000"], True),
        (b"LOCALHOST:8000", [b"https://localhost:8000"], True),
        (b"127.0.0.1:8000", [b"https://App.example.org"], True),
        (b"127.0.0.1:8000", [b"http://127.0.0.1:9000"], False),
        (b"127.0.0.1:8000", [b"http://localhost:8000"], False),
        (b"127.0.0.1:8000", [b"null"], False),
        (b"127.0.0.1:8000", [b""], False),
        (b"127.0.0.1:8000", [b"http://app.example.org"], False),
        (b"127.0.0.1:8000", [b"https://app.example.org.evil.example"], False),
        (b"127.0.0.1:8000", [b"http://127.0.0.1:8000", b"https://evil.example"], False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
async def test_pages_of_other_sites_may_not_call(host, origins, reached, method):
    """With any method; the server's own pages and those on the list may, and programs send no `Origin`."""
    came = []
    sent = []

    async def app(scope, receive, send):
        came.append(scope)

    async def send(message):
        sent.append(message)

    headers = [(b"host", host), *((b"origin", origin) for origin in origins)]
    allowed = AllowedHosts(app, origins=["https://app.example.org"])
    await allowed({"type": "http", "method": method, "path": "/", "headers": headers}, None, send)
    assert bool(came) is reached
    assert reached or sent[0]["status"] == 403


async def test_pages_on_the_list_may_ask_first_and_read_the_answer():
    """A browser asks without a credential whether it may send one (CORS); it may for these origins alone."""
    came, sent = [], []

    async def app(scope, receive, send):
        came.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    listed = "https://app.example.org"
    door = AllowedHosts(CrossOrigin(app, origins=[listed]), origins=[listed])
    preflight = [(b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"authorization")]
    for method, more in (("OPTIONS", preflight), ("POST", [])):
        headers = [(b"host", b"localhost"), (b"origin", listed.encode()), *more]
        await door({"type": "http", "method": method, "path": "/search", "headers": headers}, None, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        assert dict(start["headers"])[b"access-control-allow-origin"] == listed.encode()
        assert b"access-control-allow-credentials" not in dict(start["headers"])
        sent.clear()
    assert came == ["POST"]
