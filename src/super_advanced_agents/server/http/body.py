"""Reading of JSON request bodies, long ones off the event loop, and JSON responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Generator
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.json_parser import INLINE_BYTES, parse_in_slices, parse_json
from super_advanced_agents.server.http.dependencies import in_slices

_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)

Validate: TypeAlias = Callable[[Any], Any]
"""Converts parsed JSON to the model of a body, or raises `RequestValidationError`."""


class JSONRoute(APIRoute):
    """A FastAPI route whose JSON body is parsed strictly, off the event loop if it is long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's request handler, changed to read JSON bodies with `read_json`."""
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle

        def validate(data: Any) -> Any:
            value, errors = field.validate(data, {}, loc=("body",))
            if errors:
                raise RequestValidationError(errors)
            return value

        async def handle_strictly(request: Request) -> Response:
            parsed_request = _ParsedRequest(request.scope, request.receive)
            await parsed_request.parse(validate)
            return await handle(parsed_request)

        return handle_strictly


class _ParsedRequest(Request):
    _parsed: Any = None

    async def parse(self, validate: Validate) -> None:
        body = await _read_checked_body(self)
        if len(body) > INLINE_BYTES:
            # FastAPI validates on the event loop, but takes a valid model as it is.
            self._parsed = await in_slices(self, _validated(body, validate))
        elif body:
            self._parsed = parse_json(body)

    async def json(self) -> Any:
        return self._parsed


async def read_json(request: Request, validate: Validate) -> Any:
    """Read, parse and validate a request's JSON body, off the event loop if it is long.

    Args:
        request: the HTTP request.
        validate: makes the body's model of the parsed JSON.

    Raises:
        InvalidInputError: the body is empty, not JSON, ambiguous, or exceeds a limit of `protocol.json_parser`.
        RequestValidationError: it is not valid.
        HTTPException: its content type is not JSON (415).
    """
    body = await _read_checked_body(request)
    if not body:
        raise InvalidInputError("body is empty", field="body", hint="send one JSON value, in UTF-8")
    if len(body) > INLINE_BYTES:
        return await in_slices(request, _validated(body, validate))
    return validate(parse_json(body))


def _validated(body: bytes, validate: Validate) -> Generator[None, None, Any]:
    data = yield from parse_in_slices(body)
    yield
    return validate(data)


async def _read_checked_body(request: Request) -> bytes:
    body = await request.body()
    if body and not _JSON_TYPE.match(request.headers.get("content-type", "")):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
    return body


async def read_body(receive: Receive, *, max_bytes: int | None = None) -> bytes | None:
    """Read the whole body of a request from ASGI; return None if the client disconnects.

    Args:
        receive: the ASGI function.
        max_bytes: the limit on its length; None leaves that to the middleware.

    Raises:
        HTTPException: it is longer (413).
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if max_bytes is not None and size > max_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request body is longer than {max_bytes} bytes"
            )
        if not message.get("more_body", False):
            return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return an ASGI function that gives a body that was read, and then what `receive` gives."""
    sent = False

    async def receive_body_first() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body_first


def json_response(content: object, status: int = HTTPStatus.OK) -> Response:
    """Encode content as a JSON response, without validating it against a model."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
