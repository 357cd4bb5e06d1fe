"""Who calls, and may they: known before anything of the request is read."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.errors import AuthenticationError, SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import problem_details, problem_of, retry_after, status_of
from super_advanced_agents.server.error_handlers import problem_response
from super_advanced_agents.server.gate import Gate
from super_advanced_agents.server.identity.rules import RouteRules, Rule
from super_advanced_agents.tenancy.context import Call, Principal, answering

_REALM = 'Bearer realm="super-advanced-agents"'


class Authentication:
    """Refuses callers without a valid credential (401) or without the route's scope (403); says nothing more to them.

    Whoever it lets through is in `calls.current_call()`. A path or method that does not exist is told only to those
    with a credential, and no request reaches the router unless the table of rules knows its route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._rules: RouteRules | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as somebody's, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # none is served
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        if self._rules is None:
            self._rules = RouteRules(scope["app"].routes)
        rule = self._rules.of(scope["method"], scope["path"])
        if isinstance(rule, Rule) and rule.public:
            await self._app(scope, receive, send)  # as nobody: without a call, and so without data
            return
        try:
            principal = await _principal(scope)
            if isinstance(rule, Rule):
                rule.check(principal)
        except SuperAdvancedAgentsError as exc:
            headers = {**retry_after(exc), **_challenge(exc, scope, rule)}
            await problem_response(problem_of(exc), headers)(scope, receive, send)
            return
        if not isinstance(rule, Rule):
            await _no_such_route(scope, receive, send, rule)
            return
        with answering(Call(principal=principal)):
            await self._app(scope, receive, send)


async def _principal(scope: Scope) -> Principal:
    gate: Gate = scope["app"].state.gate
    sent: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            if name in sent:
                raise AuthenticationError(f"the header {name.decode()!r} was sent twice", hint="send one credential")
            sent[name] = value.decode("latin-1")
    return await gate.authenticator.authenticate(
        authorization=sent.get(b"authorization"), api_key=sent.get(b"x-api-key")
    )


def _challenge(error: SuperAdvancedAgentsError, scope: Scope, rule: Rule | frozenset[str]) -> Mapping[str, str]:
    """The `WWW-Authenticate` header as RFC 6750 writes it."""
    status = status_of(error)
    if status == HTTPStatus.UNAUTHORIZED:
        tried = any(name in (b"authorization", b"x-api-key") for name, _ in scope["headers"])
        return {"WWW-Authenticate": f'{_REALM}, error="invalid_token"' if tried else _REALM}
    if status == HTTPStatus.FORBIDDEN and isinstance(rule, Rule) and rule.access is not None:
        return {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{rule.access.value}"'}
    return {}


async def _no_such_route(scope: Scope, receive: Receive, send: Send, methods: frozenset[str]) -> None:
    status = HTTPStatus.METHOD_NOT_ALLOWED if methods else HTTPStatus.NOT_FOUND
    headers = {"Allow": ", ".join(sorted(methods))} if methods else None
    await problem_response(problem_details(status, status.phrase), headers)(scope, receive, send)
