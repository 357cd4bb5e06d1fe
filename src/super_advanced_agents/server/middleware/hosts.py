"""Which names a request may call this server by: the defence against DNS rebinding."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.error_handlers import problem_response

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class AllowedHosts:
    """Refuses (421) every request whose `Host` header, its port left aside, is not on the list.

    A page on another site can make a browser send requests to 127.0.0.1 under a name it controls; the name gives it
    away.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = LOOPBACK_NAMES | {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            hosts = [value for key, value in scope["headers"] if key == b"host"]
            if len(hosts) != 1 or _without_port(hosts[0].decode("latin-1")) not in self._names:
                problem = problem_details(
                    HTTPStatus.MISDIRECTED_REQUEST, "the Host header is not a name of this server"
                )
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
