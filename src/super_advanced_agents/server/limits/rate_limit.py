"""Rate limits of credentials and tenants in units per minute, charged before the work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from super_advanced_agents.errors import RateLimitedError
from super_advanced_agents.server.limits.shared import SharedLimits
from super_advanced_agents.server.limits.windows import WINDOW_S, Charge, ChargeResult, LocalWindows, Spending
from super_advanced_agents.telemetry import counter
from super_advanced_agents.tenancy.context import Principal
from super_advanced_agents.tenancy.settings import Settings

_REFUSED = counter("rate_limited")
_HINT = "wait, send fewer calls, or ask the operator for a larger allowance"


class Quota(NamedTuple):
    """The rate limit state of a caller's key or tenant, whichever has fewer units left.

    Attributes:
        limit: units per minute.
        remaining: units that can be spent now.
        reset_s: seconds until the whole allowance is available again, if no more units are spent.
    """

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class _State:
    owner: str
    charge: Charge
    before: Spending

    @property
    def limit(self) -> int:
        return self.charge.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.before.counted)

    @property
    def lacks(self) -> bool:
        return self.charge.amount > self.remaining

    def quota(self) -> Quota:
        cost, before = self.charge.amount, self.before
        reset_s = before.left_s + WINDOW_S if before.spent + cost else before.left_s if before.previous else 0.0
        return Quota(self.limit, max(0, self.remaining - cost), math.ceil(reset_s))

    def wait_s(self) -> float:
        # The units of a window expire evenly during the next window, and are counted in whole units.
        before = self.before
        threshold = self.limit - self.charge.amount + 1  # they fit once fewer units than this count as spent
        if before.spent < threshold:
            return max(0.0, before.left_s - WINDOW_S * (threshold - before.spent) / max(1, before.previous))
        return before.left_s + WINDOW_S * max(0.0, 1 - threshold / before.spent)


@dataclass(kw_only=True)
class RateLimiter:
    """Limit the cost of requests, in units per minute, for each credential and each tenant.

    A request costs one unit, and more for what it makes the server do (`limits.cost`). Units are counted in
    sliding windows: the units of one minute expire evenly during the next, so that no caller gets two minutes' worth
    around a full minute. A request that costs more than the whole allowance takes all of it.

    Args:
        per_key: units per minute of one credential; 0 for no limit.
        per_tenant: units per minute of all credentials of a tenant together; 0 for no limit.
        windows: counts the units in this process.
        shared: counts them for all replicas; while it cannot, this process counts an equal part of the limits.
    """

    per_key: int
    per_tenant: int
    windows: LocalWindows = field(default_factory=LocalWindows)
    shared: SharedLimits | None = None

    @classmethod
    def of(cls, settings: Settings, shared: SharedLimits | None = None) -> Self:
        """Create a `RateLimiter` with the limits in the settings."""
        return cls(per_key=settings.rate_limit_per_key, per_tenant=settings.rate_limit_per_tenant, shared=shared)

    async def charge(self, principal: Principal, cost: int) -> Quota | None:
        """Charge units to a caller's key and tenant, and return the quota that is left.

        Args:
            principal: the caller.
            cost: units to charge; 0 only reads the quota.

        Returns:
            The remaining quota; None without limits.

        Raises:
            RateLimitedError: an allowance is used up; no units were charged.
        """
        owners = self._owners(principal)
        if not owners:
            return None
        charged, states = await self._charge(owners, cost)
        if not charged:
            _REFUSED.add()
            raise _rate_limited(next((state for state in states if state.lacks), states[-1]), cost)
        return min((state.quota() for state in states), key=_remaining)

    async def settle(self, principal: Principal, cost: int) -> None:
        """Charge units for work that is done, at most those that are left; refuses nothing.

        Args:
            principal: the caller.
            cost: units to charge.
        """
        if owners := self._owners(principal):
            await self._charge(owners, cost, settle=True)

    def _owners(self, principal: Principal) -> list[tuple[str, str, int]]:
        # The tenant in braces keeps both windows in one slot of a Valkey cluster, so that one script may use them.
        tenant = "{" + principal.tenant + "}"
        owners = (
            ("key", f"{tenant}:key:{principal.key_id}", self.per_key),
            ("tenant", f"{tenant}:tenant", self.per_tenant),
        )
        return [owner for owner in owners if owner[2]]

    async def _charge(
        self, owners: list[tuple[str, str, int]], cost: int, *, settle: bool = False
    ) -> tuple[bool, list[_State]]:
        result: ChargeResult | None = None
        charges = [Charge(key, limit, min(cost, limit)) for _, key, limit in owners]
        if self.shared is not None:
            result = await self.shared.charge(charges, settle=settle)
            if result is None:
                shares = [max(1, limit // self.shared.replicas) for _, _, limit in owners]
                charges = [
                    Charge(key, share, min(cost, share)) for (_, key, _), share in zip(owners, shares, strict=True)
                ]
        if result is None:
            result = self.windows.charge(charges, settle=settle)
        states = [
            _State(owner, charge, before)
            for (owner, _, _), charge, before in zip(owners, charges, result.spendings, strict=True)
        ]
        return result.charged, states


def quota_headers(quota: Quota | None) -> list[tuple[bytes, bytes]]:
    """Return the `RateLimit-*` response headers of a quota; an empty list without limits.

    Args:
        quota: the remaining quota, or None without limits.
    """
    if quota is None:
        return []
    return [
        (b"ratelimit-limit", b"%d" % quota.limit),
        (b"ratelimit-remaining", b"%d" % quota.remaining),
        (b"ratelimit-reset", b"%d" % quota.reset_s),
    ]


def quota_metadata(quota: Quota | None) -> tuple[tuple[str, str], ...]:
    """Return a quota as `ratelimit-*` trailing metadata of a gRPC call; empty without limits.

    Args:
        quota: the remaining quota, or None without limits.
    """
    return tuple((name.decode(), value.decode()) for name, value in quota_headers(quota))


def _remaining(quota: Quota) -> int:
    return quota.remaining


def _rate_limited(state: _State, cost: int) -> RateLimitedError:
    wait_s = state.wait_s() + 0.1
    return RateLimitedError(
        f"the call costs {cost}, and {state.remaining} are left of the {state.owner}'s {state.limit} units a minute",
        retry_after_s=round(wait_s, 1),
        hint=_HINT,
    )
