"""What went wrong on the way to a server, or there, as errors of the tree."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from super_advanced_agents.errors import (
    ConfigurationError,
    EngineUnavailableError,
    InvalidInputError,
    OverloadedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.protocol.error_mapping import error_of
from super_advanced_agents.protocol.methods import ERROR_METADATA

_STILL_AT_WORK_S = 0.2
_STATUSES = {
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "ABORTED": HTTPStatus.CONFLICT,
    "INVALID_ARGUMENT": HTTPStatus.UNPROCESSABLE_ENTITY,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "CANCELLED": HTTPStatus.SERVICE_UNAVAILABLE,
    "UNIMPLEMENTED": HTTPStatus.METHOD_NOT_ALLOWED,
}
"""The status that a gRPC code, by its name, stands for where no problem document says more."""


def unreachable(url: str, why: object) -> EngineUnavailableError:
    """No connection, or one that broke."""
    return EngineUnavailableError(
        f"the server {url!r} cannot be reached ({why})", hint="check that it runs, and the address"
    )


def too_late(url: str, timeout_s: float) -> EngineUnavailableError:
    """No answer in time."""
    return EngineUnavailableError(
        f"the server {url!r} did not answer within {timeout_s:.3g} s", hint="try again, or give it more timeout_s"
    )


def of_call(call: Any, url: str, timeout_s: float, *, late: bool = False) -> SuperAdvancedAgentsError:
    """The error of a gRPC call that did not end well."""
    trailing = dict(call.trailing_metadata() or ())
    code = call.code().name
    status = _STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if ERROR_METADATA in trailing:
        return _told(trailing[ERROR_METADATA], status, trailing.get("retry-after"), url)
    why = str(call.details() or "no reason given")[:200]
    if late or code == "DEADLINE_EXCEEDED":
        return too_late(url, timeout_s)
    if code in {"UNAVAILABLE", "CANCELLED"}:
        return unreachable(url, why)
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in why:
        return _too_large(url)
    return _bare(status, f"the server {url!r} says: {why}", trailing.get("retry-after"), url)


def of_response(status: int, headers: Mapping[str, str], body: bytes, url: str) -> SuperAdvancedAgentsError:
    """The error of an HTTP answer that is not of the kind 2xx."""
    pause = headers.get("retry-after")
    if headers.get("content-type", "").startswith("application/problem+json"):
        return _told(body, status, pause, url)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return ConfigurationError(
            f"the server {url!r} redirects, which is not followed", hint="use the address that it redirects to"
        )
    if status == HTTPStatus.NOT_FOUND:
        status = HTTPStatus.METHOD_NOT_ALLOWED  # ours tells what it does not find
    return _bare(status, f"the server {url!r} answered with status {status}", pause, url)


def _told(document: bytes | str, status: int, pause: object, url: str) -> SuperAdvancedAgentsError:
    """The server's own error, raised again here."""
    try:
        problem = orjson.loads(document)
        detail = problem["detail"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        problem, detail = {}, "what cannot be read"
    if "error" in problem:
        return error_of(problem, status=status, retry_after_s=_seconds(pause))
    return _bare(status, f"the server {url!r} says: {detail}", pause, url)


def _bare(status: int, told: str, pause: object, url: str) -> SuperAdvancedAgentsError:
    """The error of an answer that names none of the tree."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _too_large(url)
    if status == HTTPStatus.CONFLICT:  # the first attempt of this very call is still at work
        return OverloadedError(told, retry_after_s=_seconds(pause) or _STILL_AT_WORK_S)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return ConfigurationError(f"{told}: it does not know this call", hint="check the address, and its version")
    return error_of({"detail": told}, status=status, retry_after_s=_seconds(pause))


def _too_large(url: str) -> InvalidInputError:
    return InvalidInputError(f"the call is larger than the server {url!r} takes", hint="send fewer at once")


def _seconds(pause: object) -> float | None:
    try:
        return max(0.0, float(str(pause)))
    except ValueError:  # none, or a date
        return None


def names_error(document: bytes) -> bool:
    """Whether a problem document names an error of the tree; one that does not says that a thing is not there."""
    try:
        return "error" in orjson.loads(document)
    except (orjson.JSONDecodeError, TypeError):
        return True
