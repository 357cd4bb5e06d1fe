"""JSON bodies taken strictly, and JSON answers written without looking at them twice.

What parsers read differently is refused (RFC 8259, sections 4 and 6; RFC 7493, I-JSON): a key that stands twice in an
object, NaN and infinities, numbers of thousands of digits, what is not UTF-8, and nesting without end.
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
    """A route whose body is JSON, read strictly: `APIRouter(route_class=JSONRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strictly(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            await _checked_body(strict)
            try:
                return await handle(strict)
            except HTTPException as exc:
                if isinstance(exc.__cause__, InvalidInputError):  # the framework's word for whatever reading raised
                    raise exc.__cause__ from None
                raise

        return strictly


async def read_json(request: Request) -> Any:
    """What a request's body says, read strictly.

    Raises:
        InvalidInputError: it is empty, not JSON, or may be read in two ways.
        HTTPException: it says that it is something else (415).
    """
    body = await _checked_body(request)
    if not body:
        raise _refused(f"{_BODY} is empty")
    return strict_json(body)


async def _checked_body(request: Request) -> bytes:
    body = await request.body()
    if body and not _JSON_TYPE.match(request.headers.get("content-type", "")):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
    return body


class _StrictRequest(Request):
    async def json(self) -> Any:
        return strict_json(await self.body())


def strict_json(body: bytes) -> Any:
    """What a body says.

    Raises:
        InvalidInputError: it is not JSON, or may be read in two ways; the field is the key, or `body`.
    """
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_not_a_number)
    except json.JSONDecodeError as exc:
        raise _refused(f"{_BODY} is not JSON: {exc.msg} at character {exc.pos}") from exc
    except UnicodeDecodeError as exc:
        raise _refused(f"{_BODY} is not UTF-8 at byte {exc.start}") from None  # the cause would carry the text
    except RecursionError:
        raise _refused(f"{_BODY} is nested too deeply") from None
    except InvalidInputError:
        raise
    except ValueError:  # thousands of digits
        raise _refused(f"{_BODY} holds a number with too many digits") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                name = printable_name(key)
                raise InvalidInputError(f"{name!r} stands twice in one object", field=name)
            seen.add(key)
    return found


def _not_a_number(constant: str) -> NoReturn:
    raise _refused(f"{_BODY} holds {constant}, which is not JSON")


def _refused(message: str) -> InvalidInputError:
    return InvalidInputError(message, field=_BODY, hint="send one JSON value, in UTF-8")


def printable_name(name: str) -> str:
    """A caller's own name for something, so that it can be told back: short, and valid Unicode."""
    return name[:_MAX_NAME_CHARS].encode(errors="replace").decode()


def json_response(shown: object, status: int = HTTPStatus.OK) -> Response:
    """The response that says `shown`; what comes out of the library was checked on its way in."""
    return Response(orjson.dumps(shown), status_code=status, media_type="application/json")
