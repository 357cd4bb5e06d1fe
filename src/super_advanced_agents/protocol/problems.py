"""Errors as the world outside sees them: one table of statuses, one shape (RFC 9457). Knows nothing of a framework.

The table serves REST and gRPC; `raising.error_of` is the way back, for their clients.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from super_advanced_agents.errors import (
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    CollectionExistsError,
    CollectionNotFoundError,
    ConfigurationError,
    EmbeddingError,
    EngineUnavailableError,
    GenerationError,
    InvalidInputError,
    JobError,
    ModelMismatchError,
    ModelNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitedError,
    ResourceClosedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.types import JSONValue

MEDIA_TYPE = "application/problem+json"


class Status(NamedTuple):
    """What one kind of error is called: the status of HTTP, and the code of gRPC by its name."""

    http: HTTPStatus
    grpc: str


STATUSES: Mapping[type[SuperAdvancedAgentsError], Status] = MappingProxyType(
    {
        SuperAdvancedAgentsError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),
        ConfigurationError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),  # not the caller's mistake
        ModelMismatchError: Status(HTTPStatus.CONFLICT, "FAILED_PRECONDITION"),
        InvalidInputError: Status(HTTPStatus.UNPROCESSABLE_ENTITY, "INVALID_ARGUMENT"),
        ResourceClosedError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        OverloadedError: Status(HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        ModelNotFoundError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        EmbeddingError: Status(HTTPStatus.BAD_GATEWAY, "UNKNOWN"),
        GenerationError: Status(HTTPStatus.BAD_GATEWAY, "UNKNOWN"),
        StoreError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),
        StoreLockedError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        StoreFullError: Status(HTTPStatus.INSUFFICIENT_STORAGE, "RESOURCE_EXHAUSTED"),
        EngineUnavailableError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        CollectionNotFoundError: Status(HTTPStatus.NOT_FOUND, "NOT_FOUND"),
        CollectionExistsError: Status(HTTPStatus.CONFLICT, "ALREADY_EXISTS"),
        AuthenticationError: Status(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED"),
        PermissionDeniedError: Status(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED"),
        RateLimitedError: Status(HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        AgentNotFoundError: Status(HTTPStatus.NOT_FOUND, "NOT_FOUND"),
        AgentError: Status(HTTPStatus.BAD_GATEWAY, "UNKNOWN"),
        AgentTimeoutError: Status(HTTPStatus.GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        AgentUnavailableError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        JobError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
)
"""Error class -> statuses; a class that is not listed has those of its nearest ancestor."""

CODES: Mapping[HTTPStatus, str] = MappingProxyType(
    {
        HTTPStatus.BAD_REQUEST: "INVALID_ARGUMENT",
        HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_ARGUMENT",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "INVALID_ARGUMENT",
        HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
        HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
        HTTPStatus.NOT_FOUND: "NOT_FOUND",
        HTTPStatus.CONFLICT: "ABORTED",
        HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
        HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
        HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
    }
)
"""The code of gRPC for a problem that is no error of the tree; `INTERNAL` where none is listed."""

_DETAIL_CHARS = 500
_TYPE = "urn:super-advanced-agents:problem:"


def status_of(error: SuperAdvancedAgentsError) -> HTTPStatus:
    """The status of an error: that of its class, or of its nearest ancestor in the table."""
    return _row(error).http


def code_of(error: SuperAdvancedAgentsError) -> str:
    """The name of the gRPC code of an error, from the same row of the table."""
    return _row(error).grpc


def _row(error: SuperAdvancedAgentsError) -> Status:
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def problem_of(error: SuperAdvancedAgentsError) -> dict[str, JSONValue]:
    """The problem details of an error of the tree.

    Beside the standard members: `error` (the class, for clients that raise it again), `retryable`, and where they
    exist `field`, `hint` and `retry_after_s`.
    """
    status = status_of(error)
    name = type(error).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error"))
    problem = problem_details(
        status, _cut(error.message), name=words.lower().replace(" ", "-"), title=words.capitalize()
    )
    problem["error"] = name
    problem["retryable"] = error.retryable
    for member in ("field", "hint", "retry_after_s"):
        value = getattr(error, member, None)
        if value:
            problem[member] = value
    return problem


def _cut(message: str) -> str:
    """Short enough for trailing metadata, which gRPC bounds to 8 KiB: a message may show a name of any length."""
    return message if len(message) <= _DETAIL_CHARS else f"{message[:_DETAIL_CHARS]}..."


def problem_details(
    status: HTTPStatus, detail: str, *, name: str = "", title: str = "", errors: Sequence[Mapping[str, str]] = ()
) -> dict[str, JSONValue]:
    """The problem details of anything else.

    Args:
        status: what the response carries.
        detail: one sentence about this occurrence.
        name: the kind of problem, such as `"invalid-input"`; the status alone says it when empty.
        title: the kind in words; the status's phrase when empty.
        errors: further fields that are wrong, each with `field` and `detail`.
    """
    problem: dict[str, JSONValue] = {
        "type": f"{_TYPE}{name}" if name else "about:blank",
        "title": title or status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if errors:
        problem["errors"] = [dict(error) for error in errors]
    return problem


def retry_after(error: SuperAdvancedAgentsError) -> dict[str, str]:
    """The `Retry-After` header, in whole seconds, of an error that says when to come back."""
    seconds = getattr(error, "retry_after_s", None)
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
