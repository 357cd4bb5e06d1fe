"""Conversion of errors to OpenAI's format, on the paths of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from super_advanced_agents.protocol.problems import MEDIA_TYPE, problem_details
from super_advanced_agents.server.http.errors import problem_response
from super_advanced_agents.types import JSONValue

_PATHS = re.compile(r"/v1/(embeddings|chat/completions|models(/.*)?)", re.DOTALL)  # a name may hold line ends
_CODES = {"AuthenticationError": "invalid_api_key", "AgentNotFoundError": "model_not_found"}
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class OpenAIErrors:
    """Middleware that rewrites problem documents (RFC 9457) as OpenAI errors on OpenAI's paths.

    Status and other headers stay. It must be the outermost middleware: problems come from routes, limits and
    authentication alike.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _PATHS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        rewriter = _ProblemRewriter(send)
        try:
            await self._app(scope, receive, rewriter)
        except Exception:
            if not rewriter.started:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                await problem_response(problem_details(status, "the server failed; its log says why"))(
                    scope, receive, rewriter
                )
            raise  # uvicorn logs it


class _ProblemRewriter:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type", "").startswith(MEDIA_TYPE):
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            error = orjson.dumps(openai_error(orjson.loads(self._body)))
            headers = MutableHeaders(raw=list(self._start["headers"]))
            headers["content-type"] = "application/json"
            headers["content-length"] = str(len(error))
            self.started = True
            await self._send({**self._start, "headers": headers.raw})
            message = {"type": "http.response.body", "body": error}
        self.started = True
        await self._send(message)


def openai_error(problem: Mapping[str, Any]) -> dict[str, JSONValue]:
    """Convert a problem document (RFC 9457) to an OpenAI error; add its hint to the message."""
    status, name, hint = problem["status"], problem.get("error"), problem.get("hint")
    detail = str(problem.get("detail") or problem.get("title", ""))
    return {
        "error": {
            "message": f"{detail} ({hint})" if hint else detail,
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "param": problem.get("field"),
            "code": _code(name) if isinstance(name, str) else None,
        }
    }


def _code(name: str) -> str:
    return _CODES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Error")).lower()
