"""Conversion of exceptions to problem documents (RFC 9457), HTTP statuses and gRPC codes.

Servers of REST and gRPC share the table, so nothing here imports a web framework. Clients turn a document into an error
again by `error_mapping.error_of_problem`.
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
    DeadlineExceededError,
    EmbeddingError,
    EngineUnavailableError,
    GenerationError,
    InvalidInputError,
    JobError,
    JobNotFoundError,
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
from super_advanced_agents.telemetry import current_request_id
from super_advanced_agents.types import JSONValue

MEDIA_TYPE = "application/problem+json"


class Status(NamedTuple):
    """The HTTP status of an exception class, and the name of its gRPC status code."""

    http: HTTPStatus
    grpc: str


STATUSES: Mapping[type[SuperAdvancedAgentsError], Status] = MappingProxyType(
    {
        SuperAdvancedAgentsError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),
        ConfigurationError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),  # not the caller's mistake
        ModelMismatchError: Status(HTTPStatus.CONFLICT, "FAILED_PRECONDITION"),
        InvalidInputError: Status(HTTPStatus.UNPROCESSABLE_ENTITY, "INVALID_ARGUMENT"),
        ResourceClosedError: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        DeadlineExceededError: Status(HTTPStatus.GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
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
        JobNotFoundError: Status(HTTPStatus.NOT_FOUND, "NOT_FOUND"),
        JobError: Status(HTTPStatus.CONFLICT, "FAILED_PRECONDITION"),
    }
)
"""The statuses of each error class; an unlisted class has those of its nearest ancestor."""

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
"""The gRPC code of an HTTP status for problems outside the error tree; else `INTERNAL`."""

_DETAIL_CHARS = 500
_ENGINE_URL = re.compile(r" (?:postgres(?:ql)?|milvus)://\S+")
"""The address of an engine in a message, which is for the operator alone."""

_TYPE = "urn:super-advanced-agents:problem:"


def status_of(error: SuperAdvancedAgentsError) -> HTTPStatus:
    """Return the HTTP status of an exception, by its class or nearest ancestor in `STATUSES`."""
    return _statuses_of(error).http


def grpc_code_of(error: SuperAdvancedAgentsError) -> str:
    """Return the gRPC code of an exception, by its class or nearest ancestor in `STATUSES`."""
    return _statuses_of(error).grpc


def _statuses_of(error: SuperAdvancedAgentsError) -> Status:
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def problem_of(error: SuperAdvancedAgentsError) -> dict[str, JSONValue]:
    """Return an exception of this library as a problem document (RFC 9457).

    Beside the standard members it holds `error` (the class name, from which clients raise the error again),
    `retryable`, and where the error has them `field`, `hint` and `retry_after_s`.
    """
    status = status_of(error)
    name = type(error).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error"))
    problem = problem_details(
        status,
        _truncated(_ENGINE_URL.sub("", error.message)),
        name=words.lower().replace(" ", "-"),
        title=words.capitalize(),
    )
    problem["error"] = name
    problem["retryable"] = error.retryable
    for member in ("field", "hint", "retry_after_s"):
        value = getattr(error, member, None)
        if value:
            problem[member] = value
    return problem


def _truncated(message: str) -> str:
    # gRPC bounds trailing metadata to 8 KiB, and a message may quote a name of any length
    return message if len(message) <= _DETAIL_CHARS else f"{message[:_DETAIL_CHARS]}..."


def problem_details(
    status: HTTPStatus, detail: str, *, name: str = "", title: str = "", errors: Sequence[Mapping[str, str]] = ()
) -> dict[str, JSONValue]:
    """Return a problem document (RFC 9457) with a status, a detail and optional members.

    Within a request it names the request's id as `request_id`.

    Args:
        status: the HTTP status of the response.
        detail: one sentence about this occurrence.
        name: the kind of problem, such as `"invalid-input"`; `type` is `about:blank` when empty.
        title: the kind in words; the status's phrase when empty.
        errors: further fields that are wrong, each with `field` and `detail`.
    """
    problem: dict[str, JSONValue] = {
        "type": f"{_TYPE}{name}" if name else "about:blank",
        "title": title or status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if request := current_request_id():
        problem["request_id"] = request
    if errors:
        problem["errors"] = [dict(error) for error in errors]
    return problem


def retry_after(error: SuperAdvancedAgentsError) -> dict[str, str]:
    """Return a dict with the `Retry-After` header of an exception; `{}` if it has no delay.

    The delay is `retry_after_s` of the exception, rounded up to whole seconds, at least 1.
    """
    seconds = getattr(error, "retry_after_s", None)
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}
