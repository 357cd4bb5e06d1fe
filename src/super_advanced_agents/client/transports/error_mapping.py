"""Convert gRPC errors, HTTP responses and broken connections to exceptions of this library."""

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
from super_advanced_agents.protocol.error_mapping import error_of_problem
from super_advanced_agents.protocol.methods import ERROR_METADATA

_IN_PROGRESS_RETRY_S = 0.2
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
"""The HTTP status of a gRPC code, for failures without a problem document."""


class ForeignAnswerError(EngineUnavailableError):
    """Report that a server's answer cannot be read or is too long; a retry would not help."""


def untrusted_error(url: str) -> EngineUnavailableError:
    """Return the error for a server whose certificate is not trusted, or is for another name."""
    return EngineUnavailableError(
        f"the certificate of the server {url!r} is not trusted",
        hint="check the address, or give the certificate of its authority as ca_file",
        retryable=False,
    )


def unreachable_error(url: str, reason: object) -> EngineUnavailableError:
    """Return the `EngineUnavailableError` for a connection that cannot be made or has broken."""
    return EngineUnavailableError(
        f"the server {url!r} cannot be reached ({reason})", hint="check that it runs, and the address"
    )


def timeout_error(url: str, timeout_s: float) -> EngineUnavailableError:
    """Return the `EngineUnavailableError` for a call that got no answer within its timeout."""
    return EngineUnavailableError(
        f"the server {url!r} did not answer within {timeout_s:.3g} s", hint="try again, or give it more timeout_s"
    )


def too_long_answer_error(url: str) -> ForeignAnswerError:
    """Return the error for an answer of which the client does not read the rest."""
    return ForeignAnswerError(
        f"the server {url!r} gave an answer longer than a client reads", hint="ask for fewer at once"
    )


def error_of_rpc(rpc: Any, url: str, timeout_s: float, *, timed_out: bool = False) -> SuperAdvancedAgentsError:
    """Convert a failed gRPC call to the matching exception of this library.

    Args:
        rpc: the `grpc.Call`.
        url: the server's address.
        timeout_s: the timeout of the call, for the message.
        timed_out: whether the client cancelled the call because no answer came in time.
    """
    trailing = dict(rpc.trailing_metadata() or ())
    code = rpc.code().name
    status = _STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if ERROR_METADATA in trailing:
        return _error_of_document(trailing[ERROR_METADATA], status, trailing.get("retry-after"), url)
    details = str(rpc.details() or "no reason given")
    if status is HTTPStatus.SERVICE_UNAVAILABLE and "CERTIFICATE_VERIFY_FAILED" in details:
        return untrusted_error(url)
    details = details[:200]
    if timed_out or code == "DEADLINE_EXCEEDED":
        return timeout_error(url, timeout_s)
    if code in {"UNAVAILABLE", "CANCELLED"}:
        return unreachable_error(url, details)
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
        return too_long_answer_error(url) if "CLIENT:" in details else _too_large_error(url)
    return _error_of_status(status, f"the server {url!r} says: {details}", trailing.get("retry-after"), url)


def error_of_response(status: int, headers: Mapping[str, str], body: bytes, url: str) -> SuperAdvancedAgentsError:
    """Convert an HTTP response whose status is not 2xx to an exception of this library."""
    retry_after = headers.get("retry-after")
    if headers.get("content-type", "").startswith("application/problem+json"):
        return _error_of_document(body, status, retry_after, url)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return ConfigurationError(
            f"the server {url!r} redirects, which is not followed", hint="use the address that it redirects to"
        )
    if status == HTTPStatus.NOT_FOUND:
        status = HTTPStatus.METHOD_NOT_ALLOWED  # a server of this library answers 404 with a problem document
    return _error_of_status(status, f"the server {url!r} answered with status {status}", retry_after, url)


def _error_of_document(document: bytes | str, status: int, retry_after: object, url: str) -> SuperAdvancedAgentsError:
    try:
        problem = orjson.loads(document)
        detail = problem["detail"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        problem, detail = {}, "an error that cannot be read"
    if "error" in problem:
        return error_of_problem(problem, status=status, retry_after_s=_seconds(retry_after))
    return _error_of_status(status, f"the server {url!r} says: {detail}", retry_after, url)


def _error_of_status(status: int, message: str, retry_after: object, url: str) -> SuperAdvancedAgentsError:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _too_large_error(url)
    if status == HTTPStatus.CONFLICT:  # the first attempt, with the same idempotency key, is still in progress
        return OverloadedError(message, retry_after_s=_seconds(retry_after) or _IN_PROGRESS_RETRY_S)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return ConfigurationError(
            f"{message}: it does not know this operation", hint="check the address, and the server's version"
        )
    return error_of_problem({"detail": message}, status=status, retry_after_s=_seconds(retry_after))


def _too_large_error(url: str) -> InvalidInputError:
    return InvalidInputError(f"the call is larger than the server {url!r} takes", hint="send fewer at once")


def _seconds(retry_after: object) -> float | None:
    try:
        return max(0.0, float(str(retry_after)))
    except ValueError:  # none, or a date
        return None


def names_error(document: bytes) -> bool:
    """Return False for an error response in JSON that has no `error` member, else True.

    The member names an exception class of this library; the response for a missing memory has none.
    """
    try:
        return "error" in orjson.loads(document)
    except (orjson.JSONDecodeError, TypeError):
        return True
