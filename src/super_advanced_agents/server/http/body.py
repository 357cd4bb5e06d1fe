"""Strict parsing of JSON request bodies, without duplicate keys or NaN, and JSON responses.

Input that parsers read differently is refused (RFC 8259, sections 4 and 6; RFC 7493, I-JSON): a key that appears twice
in an object, NaN and infinities, numbers of thousands of digits, text that is not UTF-8, and nesting without end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

import orjson
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from super_advanced_agents.errors import InvalidInputError

_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_MAX_NAME_CHARS = 64
_BODY = "body"


class JSONRoute(APIRoute):
    """A FastAPI route whose JSON body is parsed strictly: duplicate keys and NaN are refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's request handler, changed to refuse duplicate keys and NaN in JSON bodies."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            strict_request = _StrictRequest(request.scope, request.receive)
            await _read_checked_body(strict_request)
            try:
                return await handle(strict_request)
            except HTTPException as exc:
                # FastAPI wraps every error that reading a body raises in an HTTPException.
                if isinstance(exc.__cause__, InvalidInputError):
                    raise exc.__cause__ from None
                raise

        return handle_strictly


async def read_json(request: Request) -> Any:
    """Read and parse a request's JSON body; refuse other content types, duplicate keys and NaN.

    Raises:
        InvalidInputError: the body is empty, not JSON, or ambiguous.
        HTTPException: its content type is not JSON (415).
    """
    body = await _read_checked_body(request)
    if not body:
        raise _invalid_body(f"{_BODY} is empty")
    return parse_json(body)


async def _read_checked_body(request: Request) -> bytes:
    body = await request.body()
    if body and not _JSON_TYPE.match(request.headers.get("content-type", "")):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
    return body


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse_json(await self.body())


def parse_json(body: bytes) -> Any:
    """Parse a JSON body; refuse duplicate keys, NaN, Infinity and text that is not UTF-8.

    Raises:
        InvalidInputError: the body is not JSON, or ambiguous; the field is the key, or `body`.
    """
    try:
        return json.loads(body.decode(), object_pairs_hook=_object_of_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise _invalid_body(f"{_BODY} is not JSON: {exc.msg} at character {exc.pos}") from exc
    except UnicodeDecodeError as exc:
        raise _invalid_body(f"{_BODY} is not UTF-8 at byte {exc.start}") from None  # the cause would carry the text
    except RecursionError:
        raise _invalid_body(f"{_BODY} is nested too deeply") from None
    except InvalidInputError:
        raise
    except ValueError:  # Python's limit of the digits of an integer
        raise _invalid_body(f"{_BODY} holds a number with too many digits") from None


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                name = printable_name(key)
                raise InvalidInputError(f"{name!r} appears twice in one object", field=name)
            seen.add(key)
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise _invalid_body(f"{_BODY} holds {constant}, which is not JSON")


def _invalid_body(message: str) -> InvalidInputError:
    return InvalidInputError(message, field=_BODY, hint="send one JSON value, in UTF-8")


def printable_name(name: str) -> str:
    """Shorten a name that a client sent, and make it valid Unicode, for error messages."""
    return name[:_MAX_NAME_CHARS].encode(errors="replace").decode()


def json_response(content: object, status: int = HTTPStatus.OK) -> Response:
    """Encode content as a JSON response, without validating it against a model."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
