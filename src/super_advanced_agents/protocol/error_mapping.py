"""The way back of `problems`: what a server has answered becomes an error of the tree again, at the client."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from http import HTTPStatus

from super_advanced_agents import errors
from super_advanced_agents.errors import (
    AuthenticationError,
    EngineUnavailableError,
    InvalidInputError,
    PermissionDeniedError,
    RateLimitedError,
    StoreError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.types import JSONValue

_RETRY_AFTER_S = 1.0
"""Assumed of a server that refuses for now and does not say until when."""

_BY_NAME: Mapping[str, type[SuperAdvancedAgentsError]] = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, SuperAdvancedAgentsError)
}

_TIMED = frozenset(cls for cls in _BY_NAME.values() if "retry_after_s" in inspect.signature(cls).parameters)
"""Errors that say when to come back."""

_BY_STATUS: Mapping[int, type[SuperAdvancedAgentsError]] = {
    HTTPStatus.UNAUTHORIZED: AuthenticationError,
    HTTPStatus.FORBIDDEN: PermissionDeniedError,
    HTTPStatus.NOT_FOUND: StoreError,
    HTTPStatus.CONFLICT: StoreError,
    HTTPStatus.REQUEST_TIMEOUT: EngineUnavailableError,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimitedError,
    HTTPStatus.BAD_GATEWAY: EngineUnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: EngineUnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: EngineUnavailableError,
}


def error_of(
    problem: Mapping[str, JSONValue], *, status: int | None = None, retry_after_s: float | None = None
) -> SuperAdvancedAgentsError:
    """The error that a problem document tells of; never raises, whatever the document holds.

    Args:
        problem: the document, as a server has sent it; `{}` where it sent something else.
        status: the HTTP status it came with, for documents that name no class of the tree.
        retry_after_s: from a header, for documents that do not say it.
    """
    cls = _BY_NAME.get(_text(problem, "error")) or _by_status(problem.get("status"), status)
    message = _text(problem, "detail") or _text(problem, "title") or f"the server answered with status {status}"
    hint = _text(problem, "hint")
    if issubclass(cls, InvalidInputError):
        return cls(message, field=_text(problem, "field"), hint=hint)
    if cls in _TIMED:
        told = problem.get("retry_after_s")
        known = told if isinstance(told, int | float) and told >= 0 else retry_after_s
        timed: Callable[..., SuperAdvancedAgentsError] = cls
        return timed(message, retry_after_s=_RETRY_AFTER_S if known is None else float(known), hint=hint)
    return cls(message, hint=hint)


def _by_status(told: JSONValue, status: int | None) -> type[SuperAdvancedAgentsError]:
    number = status if status is not None else told if isinstance(told, int) else 0
    if number in _BY_STATUS:
        return _BY_STATUS[number]
    return InvalidInputError if HTTPStatus.BAD_REQUEST <= number < HTTPStatus.INTERNAL_SERVER_ERROR else StoreError


def _text(problem: Mapping[str, JSONValue], member: str) -> str:
    value = problem.get(member)
    return value if isinstance(value, str) else ""
