"""How large a request body may be, and that it comes as it is."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import problem_response


class BodyLimit:
    """Refuses bodies longer than `max_bytes` (413), counted while they stream, and encoded ones (415).

    A compressed body could unfold to a thousand times what was counted, so none is taken.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what it brings, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").strip().lower() not in {b"identity", b""}:
            refusal = problem_details(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "request bodies must not be compressed (Content-Encoding)"
            )
            await problem_response(refusal)(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > self._max_bytes):
            await problem_response(problem_details(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long()))(
                scope, receive, send
            )
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long())
            return message

        await self._app(scope, counted, send)

    def _too_long(self) -> str:
        return f"the request body is longer than {self._max_bytes} bytes"
