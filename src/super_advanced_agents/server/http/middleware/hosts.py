"""Checks of the `Host` and `Origin` headers, against requests forged by other web sites."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import problem_response

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

PROBES = frozenset({"/healthz", "/readyz"})
"""The paths of probes, which send the address of a container as `Host`, or none."""

_RESPONSE_HEADERS = [
    "Retry-After",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Idempotency-Replayed",
    "WWW-Authenticate",
    "Mcp-Session-Id",
    "X-Request-Id",
]


class AllowedHosts:
    """Middleware that refuses an unknown `Host` header (421) or a foreign `Origin` header (403).

    A page on another site can make a browser send requests to 127.0.0.1 under a name it controls (the `Host` header
    reveals it) or under the server's own name (the `Origin` header does). Programs send no `Origin`. Probes of health
    and readiness tell nothing, and are answered under any name.

    Args:
        names: the server's names beside those of loopback, without a port.
        origins: further origins whose pages may send requests: scheme, host and port.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._app = app
        self._names = LOOPBACK_NAMES | {name.lower() for name in names}
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            hosts: list[str] = []
            origins: list[str] = []
            for name, value in scope["headers"]:
                if name == b"host":
                    hosts.append(value.decode("latin-1").lower())
                elif name == b"origin":
                    origins.append(value.decode("latin-1").lower())
            if not (self._is_own_name(hosts) or scope["path"] in PROBES):
                problem = problem_details(
                    HTTPStatus.MISDIRECTED_REQUEST, "the Host header is not a name of this server"
                )
                await problem_response(problem)(scope, receive, send)
                return
            if origins and not (len(origins) == len(hosts) == 1 and self._is_allowed_origin(origins[0], hosts[0])):
                problem = problem_details(HTTPStatus.FORBIDDEN, "the Origin header is not one of the allowed origins")
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_own_name(self, hosts: list[str]) -> bool:
        return len(hosts) == 1 and _without_port(hosts[0]) in self._names

    def _is_allowed_origin(self, origin: str, host: str) -> bool:
        # The origin of the server's own pages has the very host and port that the request was sent to.
        return origin in self._origins or origin in (f"http://{host}", f"https://{host}")


class CrossOrigin(CORSMiddleware):
    """Middleware that sends the CORS headers with which allowed origins may call the server.

    `AllowedHosts` refuses all other origins, so these may send any header: clients of OpenAI and MCP have many of their
    own. Cookies are not a credential here, so browsers are not asked to send them.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=_RESPONSE_HEADERS,
        )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
