"""Who calls, and what is known of the call that is being answered, over REST and gRPC alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import PermissionDeniedError


class Access(StrEnum):
    """What a credential may be good for."""

    READ = "memories:read"
    WRITE = "memories:write"
    GENERATE = "generate"
    JOBS = "jobs"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls, by its credential alone; nothing in a request can change it.

    Attributes:
        tenant: whose data it sees, and no other's.
        scopes: what it may do there.
        key_id: the credential's name, for limits and logs; not a secret.
    """

    tenant: str
    scopes: frozenset[Access]
    key_id: str

    def allows(self, access: Access) -> bool:
        """Whether it may; `admin` may do everything in its own tenant."""
        return access in self.scopes or Access.ADMIN in self.scopes

    def require(self, access: Access) -> None:
        """Raise `PermissionDeniedError`, naming the scope, unless it may."""
        if not self.allows(access):
            raise PermissionDeniedError(
                f"this needs the scope {access.value!r}, which the credential does not have",
                hint=f"make one with `saa keys create --scope {access.value}`",
            )


ANYBODY = Principal(tenant=DEFAULT_TENANT, scopes=frozenset(Access), key_id="anybody")
"""Every caller of a server without authentication (`--no-auth`, loopback only)."""


class Charging(Protocol):
    """Takes what a call costs from the allowances of its key and tenant (`limiting.RateLimiter`)."""

    async def charge(self, principal: Principal, cost: int) -> object:
        """Take `cost`, or raise `RateLimitedError` and take nothing."""


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request or gRPC call.

    Attributes:
        principal: who calls.
        limiter: what counts the costs; None where there are no limits.
        notes: what one part leaves for another on the way out (a quota for headers, say), by the part's name.
    """

    principal: Principal
    limiter: Charging | None = None
    notes: dict[str, object] = field(default_factory=dict)

    async def charge(self, cost: int) -> None:
        """Take `cost` units beyond the one that every call costs: a text to store, or a token to write, is one each.

        Raises:
            RateLimitedError: the key's or the tenant's allowance is used up; nothing was done yet.
        """
        if self.limiter is not None and cost > 0:
            self.notes["quota"] = await self.limiter.charge(self.principal, cost)


_current: ContextVar[RequestContext] = ContextVar("call")


def current_context() -> RequestContext:
    """The call that is being answered; there is one wherever a route or a gRPC method runs.

    Raises:
        LookupError: nothing was authenticated here, a fault of ours: the caller gets an error, never data.
    """
    return _current.get()


@contextmanager
def active_context(context: RequestContext) -> Iterator[RequestContext]:
    """Inside, `current_context()` is `context`."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
