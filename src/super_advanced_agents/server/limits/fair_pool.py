"""A pool of permits, streams or bytes, which tenants share fairly."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

WAIT_S = 0.025
"""The longest wait of a tenant that has its share: half of the time limit of a refusal."""

ENTITLED_WAIT_S = 30.0
"""The longest wait of a tenant that has less than its share, in seconds."""


class _Account:
    # What one tenant holds and waits for; each waiter is a future and the units that it asks for.

    __slots__ = ("held", "tenant", "waiting")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.held = 0
        self.waiting: deque[tuple[asyncio.Future[bool], int]] = deque()


class FairPool:
    """Grant units, such as permits or bytes, to tenants in fair shares, after bounded waits.

    The share of a tenant is an equal part of the capacity, among the tenants that hold or await units. A tenant alone
    may hold the whole capacity. A reserve of a quarter more is for tenants below their share, so that these need not
    wait for units which another tenant holds for long. A unit that comes free goes to the waiting tenant that holds
    the fewest, round robin among equals, and within a tenant to the request that has waited longest.

    A tenant below its share is entitled to units and waits up to `entitled_wait_s`, and so does one at its share while
    another holds more than its own; all others wait up to `wait_s`. It belongs to one event loop.

    Args:
        capacity: the number of units.
        waiting: how many requests of a tenant that has its share may wait.
        entitled_waiting: how many requests of a tenant may wait while it is entitled to units.
        per_tenant: the most that one tenant may hold; None for the whole capacity.
        wait_s: the longest wait of a tenant that has its share, in seconds.
        entitled_wait_s: the longest wait of a tenant that is entitled to units, in seconds.

    Attributes:
        capacity: the number of units.
        max_waiting: how many requests of a tenant that has its share may wait.
        in_flight: the number of units that are held, those of the reserve included.
        saturated: the tenants whose next request would be refused at once.
        peak: the most units that were held and asked for at once, since `reset_peak`.
    """

    def __init__(
        self,
        *,
        capacity: int,
        waiting: int,
        entitled_waiting: int | None = None,
        per_tenant: int | None = None,
        wait_s: float = WAIT_S,
        entitled_wait_s: float = ENTITLED_WAIT_S,
    ) -> None:
        self.capacity = capacity
        self.max_waiting = waiting
        self.in_flight = 0
        self.peak = 0
        self.saturated: set[str] = set()
        self._limit = _with_reserve(capacity)
        self._entitled_waiting = entitled_waiting
        self._per_tenant = per_tenant
        self._wait_s = wait_s
        self._entitled_wait_s = entitled_wait_s
        self._accounts: dict[str, _Account] = {}
        self._waiters: OrderedDict[str, _Account] = OrderedDict()  # those with waiting requests, round robin

    @property
    def waiting(self) -> int:
        """The number of requests that wait now."""
        return sum(len(account.waiting) for account in self._waiters.values())

    def held_by(self, tenant: str) -> int:
        """Return the number of units that a tenant holds."""
        account = self._accounts.get(tenant)
        return 0 if account is None else account.held

    @property
    def is_busy(self) -> bool:
        """True if half of the units are held, so that many requests at once may be too many."""
        return 2 * self.in_flight >= self.capacity

    def places_for(self, tenant: str) -> int:
        """Return how many requests of a tenant for one unit may come now, by estimate."""
        account = self._accounts.get(tenant)
        if account is None or self._is_entitled(account, 1):
            return self.capacity
        return max(0, self.capacity - self.in_flight) + max(0, self.max_waiting - len(account.waiting))

    def tenants(self) -> list[str]:
        """Return the tenants that hold or await units."""
        return list(self._accounts)

    def resize(self, capacity: int) -> None:
        """Change the capacity; units held beyond it stay held until they are given back."""
        if capacity != self.capacity:
            self.capacity, self._limit = capacity, _with_reserve(capacity)
            self.saturated.clear()
            self._grant()

    def reset_peak(self) -> None:
        """Begin to measure `peak` anew."""
        self.peak = self.in_flight + self.waiting

    def enter_now(self, tenant: str, amount: int = 1) -> bool:
        """Take units without waiting, and return whether enough were free for this tenant."""
        account = self._accounts.get(tenant) or self._open_account(tenant)
        if self._fits(account, amount):
            account.held += amount
            self.in_flight += amount
            self.peak = max(self.peak, self.in_flight)
            return True
        self.peak = max(self.peak, self.in_flight + self.waiting + amount)
        self._close_if_empty(account)
        return False

    async def enter(self, tenant: str, amount: int = 1, *, patient: bool = False) -> bool:
        """Wait for units, and return whether they were granted.

        A cancelled wait takes none.

        Args:
            tenant: the tenant that takes them.
            amount: the number of units; those of one call are granted together.
            patient: wait as long as a tenant below its share does.

        Returns:
            True when they are held until `leave`; False when too many requests wait, or none came free in time.
        """
        if self.enter_now(tenant, amount):
            return True
        account = self._accounts.get(tenant) or self._open_account(tenant)
        patient = patient or self._is_entitled(account, amount)
        entitled = self.capacity if self._entitled_waiting is None else self._entitled_waiting
        longest, wait_s = (entitled, self._entitled_wait_s) if patient else (self.max_waiting, self._wait_s)
        if len(account.waiting) >= longest:
            self.saturated.add(tenant)
            self._close_if_empty(account)
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        entry = (waiter, amount)
        account.waiting.append(entry)
        self._waiters[tenant] = account
        if len(account.waiting) >= longest:
            self.saturated.add(tenant)
        deadline = loop.call_later(wait_s, self._give_up, account, entry)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.leave(tenant, amount)  # the units were granted before the cancellation arrived
            elif entry in account.waiting:
                self._remove(account, entry)
            raise
        finally:
            deadline.cancel()

    def leave(self, tenant: str, amount: int = 1) -> None:
        """Give units back; they are granted to waiting requests."""
        account = self._accounts[tenant]
        account.held -= amount
        self.in_flight -= amount
        self._close_if_empty(account)
        self._grant()
        if self.in_flight < self.capacity and self.saturated:
            self.saturated.clear()

    @property
    def _most(self) -> int:
        return self.capacity if self._per_tenant is None else self._per_tenant

    @property
    def _share(self) -> int:
        return max(1, self.capacity // max(1, len(self._accounts)))

    def _open_account(self, tenant: str) -> _Account:
        account = self._accounts[tenant] = _Account(tenant)
        return account

    def _close_if_empty(self, account: _Account) -> None:
        # One tenant less: the shares of the others grow, so none of them counts as saturated.
        if not account.held and not account.waiting and self._accounts.get(account.tenant) is account:
            del self._accounts[account.tenant]
            self.saturated.clear()

    def _fits(self, account: _Account, amount: int) -> bool:
        if account.waiting or account.held + amount > self._most:
            return False
        in_flight = self.in_flight + amount
        if in_flight <= self.capacity and not self._waiters:
            return True
        return in_flight <= self._limit and self._is_below_share(account, amount)

    def _is_below_share(self, account: _Account, amount: int) -> bool:
        return not account.held or account.held + amount <= self._share

    def _is_entitled(self, account: _Account, amount: int) -> bool:
        if self._is_below_share(account, amount):
            return True
        share = self._share
        return account.held <= share and any(other.held > share for other in self._accounts.values())

    def _grant(self) -> None:
        while (account := self._next_account()) is not None:
            waiter, amount = account.waiting[0]
            in_flight = self.in_flight + amount
            if in_flight > self._limit:
                return
            if in_flight > self.capacity and not self._is_below_share(account, amount):
                return
            account.waiting.popleft()
            self._waiters.move_to_end(account.tenant)
            self._after_waiting(account)
            if not waiter.done():
                account.held += amount
                self.in_flight += amount
                waiter.set_result(True)
            self._close_if_empty(account)

    def _next_account(self) -> _Account | None:
        # The account that holds the fewest. At most as many tenants as the pool has units hold one, so the search is
        # short: it ends at the first account that holds none.
        chosen, most = None, self._most
        for account in self._waiters.values():
            if account.held + account.waiting[0][1] > most:
                continue
            if chosen is None or account.held < chosen.held:
                chosen = account
                if not account.held:
                    break
        return chosen

    def _give_up(self, account: _Account, entry: tuple[asyncio.Future[bool], int]) -> None:
        if not entry[0].done():
            self._remove(account, entry)
            entry[0].set_result(False)

    def _remove(self, account: _Account, entry: tuple[asyncio.Future[bool], int]) -> None:
        account.waiting.remove(entry)
        self._after_waiting(account)
        self._close_if_empty(account)
        self._grant()  # a smaller request may have waited behind it

    def _after_waiting(self, account: _Account) -> None:
        self.saturated.discard(account.tenant)
        if not account.waiting:
            del self._waiters[account.tenant]


def _with_reserve(capacity: int) -> int:
    return capacity + -(-capacity // 4)
