"""Errors as the world outside sees them: one table of statuses, one shape (RFC 9457). Knows nothing of a framework.

The table is meant to serve every protocol; it stands apart from how REST sends it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType

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

STATUSES: Mapping[type[SuperAdvancedAgentsError], HTTPStatus] = MappingProxyType(
    {
        SuperAdvancedAgentsError: HTTPStatus.INTERNAL_SERVER_ERROR,
        ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,  # the operator's mistake, not the caller's
        ModelMismatchError: HTTPStatus.CONFLICT,
        InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
        ResourceClosedError: HTTPStatus.SERVICE_UNAVAILABLE,
        OverloadedError: HTTPStatus.TOO_MANY_REQUESTS,
        ModelNotFoundError: HTTPStatus.SERVICE_UNAVAILABLE,
        EmbeddingError: HTTPStatus.BAD_GATEWAY,
        GenerationError: HTTPStatus.BAD_GATEWAY,
        StoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
        StoreLockedError: HTTPStatus.SERVICE_UNAVAILABLE,
        StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
        EngineUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
        CollectionNotFoundError: HTTPStatus.NOT_FOUND,
        CollectionExistsError: HTTPStatus.CONFLICT,
        AuthenticationError: HTTPStatus.UNAUTHORIZED,
        PermissionDeniedError: HTTPStatus.FORBIDDEN,
        RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
        AgentNotFoundError: HTTPStatus.NOT_FOUND,
        AgentError: HTTPStatus.BAD_GATEWAY,
        AgentTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
        AgentUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
        JobError: HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""Error class -> status; a class that is not listed has its nearest ancestor's."""

_TYPE = "urn:super-advanced-agents:problem:"


def status_of(error: SuperAdvancedAgentsError) -> HTTPStatus:
    """The status of an error: that of its class, or of its nearest ancestor in the table."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def problem_of(error: SuperAdvancedAgentsError) -> dict[str, JSONValue]:
    """The problem details of an error of the tree.

    Beside the standard members: `error` (the class, for clients that raise it again), `retryable`, and where they
    exist `field`, `hint` and `retry_after_s`.
    """
    status = status_of(error)
    name = type(error).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error"))
    problem = problem_details(status, error.message, name=words.lower().replace(" ", "-"), title=words.capitalize())
    problem["error"] = name
    problem["retryable"] = error.retryable
    for member in ("field", "hint", "retry_after_s"):
        value = getattr(error, member, None)
        if value:
            problem[member] = value
    return problem


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
