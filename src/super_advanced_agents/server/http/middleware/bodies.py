"""ASGI middleware that refuses request bodies that are too long or compressed."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.protocol.problems import problem_details
from super_advanced_agents.server.http.errors import problem_response


class BodyLimit:
    """Middleware that refuses request bodies longer than `max_bytes` (413) or compressed (415).

    The bytes are counted while they stream. A compressed body could expand to a thousand times the bytes that were
    counted, so none is accepted.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").strip().lower() not in {b"identity", b""}:
            problem = problem_details(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "request bodies must not be compressed (Content-Encoding)"
            )
            await problem_response(problem)(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > self._max_bytes):
            problem = problem_details(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long())
            await problem_response(problem)(scope, receive, send)
            return
        received = 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long())
            return message

        await self._app(scope, receive_and_count, send)

    def _too_long(self) -> str:
        return f"the request body is longer than {self._max_bytes} bytes"
