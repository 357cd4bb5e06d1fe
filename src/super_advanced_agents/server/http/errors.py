"""Exception handlers that answer every error with a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import MEDIA_TYPE, problem_details, problem_of, retry_after, status_of
from super_advanced_agents.server.observing.requests import OBSERVED, REQUEST_ID, ObservedRequest
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import JSONValue

_log = get_logger("server")
_CLIENT_CLOSED_REQUEST = 499
_MAX_FIELD_CHARS = 100
_MAX_ERRORS = 20


def add_error_handlers(app: FastAPI) -> None:
    """Register exception handlers that answer every error with `application/problem+json`."""
    app.add_exception_handler(SuperAdvancedAgentsError, _on_library_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected_error)


def problem_response(problem: Mapping[str, JSONValue], headers: Mapping[str, str] | None = None) -> Response:
    """Encode a problem document (RFC 9457) as a response with the document's status."""
    status = problem["status"]
    assert isinstance(status, int)
    return Response(orjson.dumps(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


class PreparedProblem:
    """A whole HTTP response with a problem document, made once and then named for each request.

    Args:
        problem: the problem document.
        headers: further headers.
    """

    def __init__(self, problem: dict[str, JSONValue], headers: dict[str, str]) -> None:
        status = problem["status"]
        assert isinstance(status, int)
        all_headers = {"Content-Type": MEDIA_TYPE, **headers}
        head = "".join(f"{name.lower()}: {value}\r\n" for name, value in all_headers.items())
        self._head = STATUS_LINE[status] + head.encode("ascii")
        self._body = orjson.dumps(problem).removesuffix(b"}")

    def named(self, request_id: str) -> bytes:
        """Return the response with a valid id of the request, in its head and in its document."""
        name = request_id.encode()
        body = b'%s,"request_id":"%s"}' % (self._body, name)
        return b"%sx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s" % (self._head, name, len(body), body)


async def _on_library_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SuperAdvancedAgentsError)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("server.request_failed", extra={"path": request.scope["path"], "reason": str(error)})
    return problem_response(problem_of(error), retry_after(error))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    # The response names the invalid fields, but never their values, which may be private.
    del request
    assert isinstance(error, RequestValidationError)
    errors = [{"field": _field(item["loc"]), "detail": str(item["msg"])} for item in error.errors()[:_MAX_ERRORS]]
    first = errors[0]
    prefix = f"{first['field']}: " if first["field"] else ""
    problem = problem_details(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{prefix}{first['detail']}",
        name="invalid-input",
        title="Invalid input",
        errors=errors,
    )
    problem |= {"error": "InvalidInputError", "retryable": False, "field": first["field"]}
    return problem_response(problem)


async def _on_http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return problem_response(problem_details(status, str(error.detail)), error.headers)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    # The client is gone: the status is for logs and metrics only.
    del request, error
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    # Starlette answers this outside of all middleware, so the request's id is added here.
    del error
    problem = problem_details(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
    observed = request.scope.get(OBSERVED)
    if not isinstance(observed, ObservedRequest):
        return problem_response(problem)
    return problem_response(problem | {"request_id": observed.request_id}, {REQUEST_ID: observed.request_id})


def _field(location: Sequence[Any]) -> str:
    # The location ("body", "<batch>", "memories", 3, "text") becomes "memories[3].text". Parts in "<>" are tags of a
    # union's members, which clients do not know.
    parts = [part for part in location if not (isinstance(part, str) and part.startswith("<"))]
    if parts and parts[0] in {"body", "query", "path", "header"}:
        source, parts = parts[0], parts[1:]
        if not parts or (source == "body" and isinstance(parts[0], int)):  # the JSON is broken at that character
            return str(source)
    name = ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{part}"
    return name[:_MAX_FIELD_CHARS].encode(errors="replace").decode()  # a key may hold lone surrogates
