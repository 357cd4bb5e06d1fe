"""Errors of pymilvus and gRPC as errors of this package, without values of users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from pymilvus.exceptions import MilvusException

from super_advanced_agents._runtime.concurrency.budget import check_budget
from super_advanced_agents.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    EngineUnavailableError,
    OverloadedError,
    StoreError,
    StoreFullError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress

_UNREACHABLE = (
    *("unavailable", "connect", "timeout", "timed out", "deadline", "not ready", "refused", "shutting"),
    # A server that was just started serves no collection yet.
    *("not loaded", "fully loaded", "not found leader", "no available shard", "channel not available", "recovering"),
)


@contextmanager
def engine_errors(address: MilvusAddress, *, opening: bool = False) -> Iterator[None]:
    """Enter a context whose errors of pymilvus and gRPC are raised as errors of this package.

    Args:
        address: the server, for messages.
        opening: whether any error means that the server cannot be reached.
    """
    try:
        yield
    except SuperAdvancedAgentsError:
        raise
    except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as exc:
        check_budget()  # the time of the call is over
        raise _mapped(exc, address, opening=opening) from exc


def _mapped(exc: BaseException, address: MilvusAddress, *, opening: bool) -> SuperAdvancedAgentsError:
    # Only words of this module reach the message: those of the server may repeat the values of a filter.
    words = f"{exc} {exc.__cause__ or ''}".lower()  # pymilvus says of a wrong password that it cannot connect
    code = getattr(exc, "code", None)
    if any(each in words for each in ("unauthenticated", "auth check", "permission deny", "privilege")):
        return ConfigurationError(
            f"{address.server} refused the credential", hint="check the user and password of the store's URL"
        )
    if address.database and "database" in words and "not found" in words:
        return ConfigurationError(
            f"{address.server} has no database {address.database!r}", hint="create it, or leave the option out"
        )
    if "collection not found" in words or "can't find collection" in words:
        return CollectionNotFoundError(
            f"{address.server} lost the collection {address.collection!r}",
            hint="open the store again to create it",
        )
    if any(each in words for each in ("disk", "quota", "no space")):
        return StoreFullError(f"{address.server} has no room left", hint="free or add space at the server")
    if "rate limit" in words or "ratelimit" in words:
        return OverloadedError(f"{address.server} limits its rate", retry_after_s=1.0, hint="try again later")
    if opening or not isinstance(code, int) or any(each in words for each in _UNREACHABLE):
        return EngineUnavailableError(
            f"{address.server} does not answer", hint="check that it runs, and the address of the store's URL"
        )
    return StoreError(f"{address.server} refused a request (code {code})", hint="see the server's log")
