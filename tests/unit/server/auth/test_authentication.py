"""Test which requests the authentication middleware admits, and how it answers the others."""

from __future__ import annotations

import orjson
import pytest
from tests.unit.server.piped import PipelinedApplication, operation

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
    """Create an API key of a reader and one of an admin."""
    table = KeyTable(settings.server_dir)
    created = {
        name: table.create(tenant="acme", scopes=[scope]).key
        for name, scope in (("reader", "memories:read"), ("admin", "admin"))
    }
    table.close()
    return created


class GuardedApplication:
    """Put the middleware in front of an application that records its caller."""

    def __init__(self, authenticator):
        self.middleware = PipelinedApplication(
            self._application,
            operation("GET", "/open", public=True),
            operation("GET", "/read", access=(Access.READ,)),
            operation("POST", "/write", access=(Access.WRITE,)),
            authenticator=authenticator,
        )
        self.sent = []
        self.caller = None
        self.body_was_read = False

    async def request(self, method, path, *headers):
        """Return the status of a refusal, or None if the request reached the application."""
        self.sent, self.caller, self.body_was_read = [], "not reached", False
        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        await self.middleware(scope, self._receive, self._send)
        return self.sent[0]["status"] if self.sent else None

    @property
    def problem(self):
        return orjson.loads(self.sent[1]["body"])

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    async def _application(self, scope, receive, send):
        try:
            self.caller = current_context().principal
        except LookupError:
            self.caller = None

    async def _receive(self):
        self.body_was_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message):
        self.sent.append(message)


@pytest.fixture
async def guarded(settings, keys):
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        yield GuardedApplication(authenticator)


def bearer(key):
    return (b"authorization", f"Bearer {key}".encode())


async def test_api_key_is_accepted_in_either_header_for_routes_of_its_scope(guarded, keys):
    """Both headers may hold the same key."""
    for headers in (
        [bearer(keys["reader"])],
        [(b"authorization", b"bEARER  " + keys["reader"].encode())],
        [(b"x-api-key", keys["reader"].encode())],
        [bearer(keys["reader"]), (b"x-api-key", keys["reader"].encode())],
    ):
        assert await guarded.request("GET", "/read", *headers) is None
        assert guarded.caller.tenant == "acme"
    assert await guarded.request("POST", "/write", bearer(keys["admin"])) is None


async def test_api_key_is_refused_for_other_scopes_and_unknown_routes(guarded, keys):
    """A 403 names the missing scope; a route without an operation is closed to every caller."""
    assert await guarded.request("POST", "/write", bearer(keys["reader"])) == 403
    assert guarded.headers["www-authenticate"].endswith('error="insufficient_scope", scope="memories:write"')
    assert "memories:write" in guarded.problem["detail"]
    assert await guarded.request("GET", "/forgotten", bearer(keys["admin"])) == 404
    assert await guarded.request("GET", "/forgotten") == 401
    assert guarded.caller == "not reached"


async def test_public_route_needs_no_key_and_has_no_principal(guarded):
    """A key sent to a public route is ignored, valid or not."""
    assert await guarded.request("GET", "/open") is None
    assert guarded.caller is None
    assert await guarded.request("GET", "/open", bearer("wrong")) is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/read"), ("GET", "/nowhere"), ("POST", "/read"), ("OPTIONS", "/")]
)
async def test_request_without_key_is_answered_401_whether_or_not_the_route_exists(guarded, method, path):
    """Callers without a key cannot find out which routes and methods exist."""
    assert await guarded.request(method, path) == 401
    assert guarded.headers["www-authenticate"] == 'Bearer realm="super-advanced-agents"'
    assert guarded.problem["error"] == "AuthenticationError"
    assert not guarded.body_was_read


async def test_request_with_key_is_answered_404_or_405_for_unknown_route_or_method(guarded, keys):
    """A 405 lists the allowed methods, and the application is not reached."""
    assert await guarded.request("GET", "/nowhere", bearer(keys["reader"])) == 404
    assert await guarded.request("POST", "/read", bearer(keys["reader"])) == 405
    assert guarded.headers["allow"] == "GET"
    assert guarded.caller == "not reached"


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
async def test_malformed_credential_is_answered_401_without_repeating_it(guarded, headers):
    """The body of the response does not contain the credential."""
    assert await guarded.request("GET", "/read", *headers) == 401
    assert headers[0][1].partition(b" ")[2] not in guarded.sent[1]["body"] or not headers[0][1].partition(b" ")[2]


async def test_request_with_two_credentials_is_answered_401(guarded, keys):
    """The second one may come from somebody other than the caller."""
    reader, admin = keys["reader"], keys["admin"]
    assert await guarded.request("GET", "/read", bearer(reader), (b"x-api-key", admin.encode())) == 401
    assert "two different" in guarded.problem["detail"]
    assert await guarded.request("GET", "/read", bearer(reader), bearer(reader)) == 401
    assert "twice" in guarded.problem["detail"]


async def test_no_auth_admits_every_caller_and_writes_no_files(tmp_path):
    """`--no-auth` makes every caller the default tenant; unknown routes stay closed."""
    settings = Settings.load(data_dir=tmp_path / "data", auth=False)
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        guarded = GuardedApplication(authenticator)
        assert await guarded.request("POST", "/write", bearer("anything")) is None
        assert guarded.caller is ANYBODY
        assert await guarded.request("GET", "/forgotten") == 404
    assert not settings.data_dir.exists()


async def test_websocket_is_closed_with_a_policy_violation(guarded):
    """No route serves websockets."""
    sent = []

    async def send(message):
        sent.append(message)

    await guarded.middleware({"type": "websocket", "path": "/read", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_api_key_is_in_no_error_and_no_repr(settings, keys):
    """Errors and reprs end up in logs."""
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
async def test_cross_origin_request_is_answered_403_unless_its_origin_is_allowed(host, origins, reached, method):
    """The server's own pages, allowed origins and programs without an `Origin` pass, with any method."""
    reached_scopes = []
    sent = []

    async def app(scope, receive, send):
        reached_scopes.append(scope)

    async def send(message):
        sent.append(message)

    headers = [(b"host", host), *((b"origin", origin) for origin in origins)]
    allowed = AllowedHosts(app, origins=["https://app.example.org"])
    await allowed({"type": "http", "method": method, "path": "/", "headers": headers}, None, send)
    assert bool(reached_scopes) is reached
    assert reached or sent[0]["status"] == 403


async def test_allowed_origin_may_send_a_preflight_and_read_the_response():
    """A browser sends a CORS preflight without a credential; it passes for allowed origins alone."""
    reached_methods, sent = [], []

    async def app(scope, receive, send):
        reached_methods.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    allowed_origin = "https://app.example.org"
    middleware = AllowedHosts(CrossOrigin(app, origins=[allowed_origin]), origins=[allowed_origin])
    preflight = [(b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"authorization")]
    for method, extra_headers in (("OPTIONS", preflight), ("POST", [])):
        headers = [(b"host", b"localhost"), (b"origin", allowed_origin.encode()), *extra_headers]
        await middleware({"type": "http", "method": method, "path": "/search", "headers": headers}, None, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        assert dict(start["headers"])[b"access-control-allow-origin"] == allowed_origin.encode()
        assert b"access-control-allow-credentials" not in dict(start["headers"])
        sent.clear()
    assert reached_methods == ["POST"]
