"""Conversion of problem documents (RFC 9457) to exceptions of this library.

The module `problems` does the reverse.
"""

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

_DEFAULT_RETRY_AFTER_S = 1.0
"""The pause before a retry where a server refuses for now and does not say for how long."""

_BY_NAME: Mapping[str, type[SuperAdvancedAgentsError]] = {
    name: cls
    for name, cls in vars(errors).items()
    if isinstance(cls, type) and issubclass(cls, SuperAdvancedAgentsError)
}

_WITH_RETRY_AFTER = frozenset(cls for cls in _BY_NAME.values() if "retry_after_s" in inspect.signature(cls).parameters)
"""The error classes that carry `retry_after_s`."""

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


def error_of_problem(
    problem: Mapping[str, JSONValue], *, status: int | None = None, retry_after_s: float | None = None
) -> SuperAdvancedAgentsError:
    """Return the exception of this library that a problem document (RFC 9457) describes.

    Never raises: a malformed member of the document is ignored.

    Args:
        problem: the document, as a server has sent it; `{}` where it sent something else.
        status: the HTTP status of the response, for documents that name no class of the error tree.
        retry_after_s: the pause from the `Retry-After` header, for documents without one.
    """
    cls = _BY_NAME.get(_text(problem, "error")) or _class_by_status(problem.get("status"), status)
    message = _text(problem, "detail") or _text(problem, "title") or f"the server answered with status {status}"
    hint = _text(problem, "hint")
    if issubclass(cls, InvalidInputError):
        return cls(message, field=_text(problem, "field"), hint=hint)
    if cls in _WITH_RETRY_AFTER:
        in_document = problem.get("retry_after_s")
        pause_s = in_document if isinstance(in_document, int | float) and in_document >= 0 else retry_after_s
        make: Callable[..., SuperAdvancedAgentsError] = cls
        return make(message, retry_after_s=_DEFAULT_RETRY_AFTER_S if pause_s is None else float(pause_s), hint=hint)
    return cls(message, hint=hint)


def _class_by_status(in_document: JSONValue, status: int | None) -> type[SuperAdvancedAgentsError]:
    number = status if status is not None else in_document if isinstance(in_document, int) else 0
    if number in _BY_STATUS:
        return _BY_STATUS[number]
    return InvalidInputError if HTTPStatus.BAD_REQUEST <= number < HTTPStatus.INTERNAL_SERVER_ERROR else StoreError


def _text(problem: Mapping[str, JSONValue], member: str) -> str:
    value = problem.get(member)
    return value if isinstance(value, str) else ""
