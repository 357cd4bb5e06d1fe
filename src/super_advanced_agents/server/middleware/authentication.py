"""Who calls, before anything of the request is read."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.server.access import ANYBODY
from super_advanced_agents.server.calls import Call, answering


class Authentication:
    """Puts the call's principal where routes find it (`calls.current_call`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as somebody's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with answering(Call(principal=ANYBODY)):
            await self._app(scope, receive, send)
