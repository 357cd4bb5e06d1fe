"""The caller of a request and the context of that request, for REST and gRPC alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from super_advanced_agents._runtime.concurrency.budget import time_limited
from super_advanced_agents._runtime.metering import metered
from super_advanced_agents._runtime.queues.shares import active_share
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import PermissionDeniedError


class Access(StrEnum):
    """Define the scopes (permissions) that an API key or a token can have."""

    READ = "memories:read"
    WRITE = "memories:write"
    GENERATE = "generate"
    JOBS = "jobs"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The authenticated caller of a request: its tenant, its scopes and its credential's id.

    Nothing in a request can change it.

    Attributes:
        tenant: the only tenant whose data the caller can reach.
        scopes: the operations that the caller may use within that tenant.
        key_id: the identifier of the credential, for rate limits and logs; not a secret.
    """

    tenant: str
    scopes: frozenset[Access]
    key_id: str

    def allows(self, access: Access) -> bool:
        """Return whether the caller has a scope; `admin` includes every scope of its own tenant.

        It does not include `metrics`, which are those of all tenants together.
        """
        return access in self.scopes or (Access.ADMIN in self.scopes and access is not Access.METRICS)

    def require(self, access: Access) -> None:
        """Raise `PermissionDeniedError` unless the caller has the given scope."""
        if not self.allows(access):
            raise PermissionDeniedError(
                f"this needs the scope {access.value!r}, which the credential does not have",
                hint=f"make one with `saa keys create --scope {access.value}`",
            )

    def require_operator(self) -> None:
        """Raise `PermissionDeniedError` unless the caller may touch the data of all tenants.

        That is who has the scope `admin` in the tenant `default`, as the key of a server's first start does.
        """
        self.require(Access.ADMIN)
        if self.tenant != DEFAULT_TENANT:
            raise PermissionDeniedError(
                f"this concerns all tenants, so it needs the scope 'admin' in the tenant {DEFAULT_TENANT!r}",
                hint="ask the operator of the server",
            )


ANYBODY = Principal(tenant=DEFAULT_TENANT, scopes=frozenset(Access), key_id="anybody")
"""The caller of every request to a server without authentication (loopback only)."""


class SupportsCharge(Protocol):
    """The interface of a rate limiter that charges units to a caller's credential and tenant."""

    async def charge(self, principal: Principal, cost: int) -> object:
        """Charge `cost` rate-limit units to a caller, or raise `RateLimitedError`, charging none."""

    async def settle(self, principal: Principal, cost: int) -> None:
        """Charge `cost` rate-limit units to a caller, at most those that are left."""


class SupportsPermit(Protocol):
    """The interface of a permit to work, which a call holds while it runs."""

    def part(self) -> AbstractAsyncContextManager[None]:
        """Enter a context for one of several concurrent parts of the call's work."""

    def give_back(self) -> None:
        """Give the permit back, since the call's work is done."""


class SupportsReservation(Protocol):
    """The interface of the bytes that a server reserves for a call's long answer."""

    async def acquire(self) -> None:
        """Wait for the bytes of the largest answer, and reserve them, or raise `OverloadedError`."""

    def shrink(self, size_bytes: int) -> None:
        """Release all but this many of the reserved bytes."""


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """Hold the caller, the rate limiter and further values of one REST request or gRPC call.

    Attributes:
        principal: the caller.
        limiter: charges the costs; None when there are no rate limits.
        search_s: the seconds of work that one search may take; None for no limit.
        permit: the permit that the call holds; None before it works, and outside of a server.
        reservation: the bytes reserved for a long answer; None outside of a server.
        notes: values that one layer leaves for another (the quota for response headers, for example), by name.
    """

    principal: Principal
    limiter: SupportsCharge | None = None
    search_s: float | None = None
    permit: SupportsPermit | None = None
    reservation: SupportsReservation | None = None
    notes: dict[str, object] = field(default_factory=dict)

    async def charge(self, cost: int) -> None:
        """Charge the caller `cost` rate-limit units in addition to the one unit of every request.

        `server.limits.cost` says what costs how many.

        Raises:
            RateLimitedError: the allowance of the key or of the tenant is used up; no work was done yet.
        """
        if self.limiter is not None and cost > 0:
            self.notes["quota"] = await self.limiter.charge(self.principal, cost)

    async def settle(self, cost: int) -> None:
        """Charge for work that is done, at most what is left of the allowance; refuse nothing."""
        if self.limiter is not None and cost > 0:
            await self.limiter.settle(self.principal, cost)

    def part(self) -> AbstractAsyncContextManager[None]:
        """Enter a context for one of several concurrent parts of the call's work.

        In a server, each part that runs at the same time as others counts as a call of the tenant.
        """
        return nullcontext() if self.permit is None else self.permit.part()

    def end_work(self, answer_bytes: int) -> None:
        """Give back the permit, and the reserved bytes that the finished answer does not need."""
        if self.permit is not None:
            self.permit.give_back()
        if self.reservation is not None:
            self.reservation.shrink(answer_bytes)


_current: ContextVar[RequestContext] = ContextVar("request_context")


def current_context() -> RequestContext:
    """Return the `RequestContext` of the REST request or gRPC call that is being handled.

    Raises:
        LookupError: no request was authenticated here, which is a bug: the caller gets an error, never data.
    """
    return _current.get()


@contextmanager
def active_context(context: RequestContext) -> Iterator[RequestContext]:
    """Enter a context in which `current_context()` returns `context`.

    Searches inside it have its seconds of work, prompts are charged to it, and what it submits to a queue waits in the
    share of its tenant.
    """
    token = _current.set(context)
    try:
        with time_limited(context.search_s), metered(context.charge), active_share(context.principal.tenant):
            yield context
    finally:
        _current.reset(token)
