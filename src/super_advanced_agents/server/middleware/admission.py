"""Whether a request gets a place, before anything else of it is looked at."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.problems import problem_of, retry_after
from super_advanced_agents.server.admission import Admission, Kind, kind_of, overloaded
from super_advanced_agents.server.error_handlers import problem_response


class AdmissionControl:
    """Answers 429 with `Retry-After` where all places are taken; a place is held until the response has ended.

    Most refusals are made before a request gets here, by `receiving`; those that waited in vain are made here.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._refusals = {kind: problem_response(problem_of(error), retry_after(error)) for kind, error in _errors()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        kind = kind_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if kind is None:
            await self._app(scope, receive, send)
            return
        line = self._admission.line(kind)
        if not await line.enter():
            await self._refusals[kind](scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            line.leave()


def _errors() -> list[tuple[Kind, OverloadedError]]:
    return [(kind, overloaded(kind)) for kind in Kind]
