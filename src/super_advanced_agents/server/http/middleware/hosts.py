"""Which names a request may call this server by, and whose pages may call it: the defence against other sites."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import problem_response

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_SENT = [
    "Authorization",
    "X-API-Key",
    "Content-Type",
    "Cache-Control",
    "Idempotency-Key",
    "Request-Timeout",
]
_READ = ["Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Idempotency-Replayed"]


class AllowedHosts:
    """Refuses requests under a name that is not on the list (421), and those of other sites' pages (403).

    A page on another site can make a browser send requests to 127.0.0.1 under a name it controls (the `Host` header
    gives it away) or under the server's own name (the `Origin` header does). Programs send no `Origin`.

    Args:
        names: further names, without a port, beside those of loopback.
        origins: whose pages may call, beside the server's own: scheme, host and port.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._app = app
        self._names = LOOPBACK_NAMES | {name.lower() for name in names}
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            hosts: list[str] = []
            origins: list[str] = []
            for name, value in scope["headers"]:
                if name == b"host":
                    hosts.append(value.decode("latin-1").lower())
                elif name == b"origin":
                    origins.append(value.decode("latin-1").lower())
            if len(hosts) != 1 or _without_port(hosts[0]) not in self._names:
                problem = problem_details(
                    HTTPStatus.MISDIRECTED_REQUEST, "the Host header is not a name of this server"
                )
                await problem_response(problem)(scope, receive, send)
                return
            if origins and not (len(origins) == 1 and self._may(origins[0], hosts[0])):
                problem = problem_details(
                    HTTPStatus.FORBIDDEN, "the Origin header is not on the list of those whose pages may call"
                )
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _may(self, origin: str, host: str) -> bool:
        """The server's own pages may: their origin has the very host and port that the request was sent to."""
        return origin in self._origins or origin in (f"http://{host}", f"https://{host}")


class CrossOrigin(CORSMiddleware):
    """Tells browsers that pages of these origins may call, and read the answers; `AllowedHosts` stops all others.

    Cookies are nobody's credential here, so browsers are not asked to send them.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_SENT,
            expose_headers=_READ,
        )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
