"""How errors become responses: everything that leaves the server as an error is a problem document."""

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

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.problems import MEDIA_TYPE, problem_details, problem_of, retry_after, status_of
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import JSONValue

_log = get_logger("server")
_CLIENT_CLOSED_REQUEST = 499
_MAX_FIELD_CHARS = 100
_MAX_ERRORS = 20


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with `application/problem+json`."""
    app.add_exception_handler(SuperAdvancedAgentsError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_shape)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_surprise)


def problem_response(problem: Mapping[str, JSONValue], headers: Mapping[str, str] | None = None) -> Response:
    """The response that carries a problem."""
    status = problem["status"]
    assert isinstance(status, int)
    return Response(orjson.dumps(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SuperAdvancedAgentsError)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("server.request_failed", extra={"path": request.scope["path"], "reason": str(error)})
    return problem_response(problem_of(error), retry_after(error))


async def _on_wrong_shape(request: Request, error: Exception) -> Response:
    """Name the fields, never repeat what they held."""
    del request
    assert isinstance(error, RequestValidationError)
    wrong = [{"field": _field(each["loc"]), "detail": str(each["msg"])} for each in error.errors()[:_MAX_ERRORS]]
    first = wrong[0]
    where = f"{first['field']}: " if first["field"] else ""
    problem = problem_details(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{where}{first['detail']}",
        name="invalid-input",
        title="Invalid input",
        errors=wrong,
    )
    problem |= {"error": "InvalidInputError", "retryable": False, "field": first["field"]}
    return problem_response(problem)


async def _on_http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return problem_response(problem_details(status, str(error.detail)), error.headers)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody will read it; the status is for whoever counts."""
    del request, error
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _on_surprise(request: Request, error: Exception) -> Response:
    """A fault of ours: the server logs it whole, the caller learns only that."""
    del request, error
    problem = problem_details(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
    return problem_response(problem)


def _field(location: Sequence[Any]) -> str:
    """`("body", "<batch>", "memories", 3, "text")` -> `memories[3].text`; parts in `<>` only chose among shapes."""
    parts = [part for part in location if not (isinstance(part, str) and part.startswith("<"))]
    if parts and parts[0] in {"body", "query", "path", "header"}:
        where, parts = parts[0], parts[1:]
        if not parts or (where == "body" and isinstance(parts[0], int)):  # the JSON itself is broken at that character
            return str(where)
    name = ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{part}"
    return name[:_MAX_FIELD_CHARS].encode(errors="replace").decode()  # a key may hold lone surrogates
