"""Reservation of bytes for request bodies, in steps as they arrive."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from super_advanced_agents.server.limits.fair_pool import ENTITLED_WAIT_S, FairPool

STEP_BYTES = 64 * 1024
"""The least bytes that a body reserves at once."""


class ArrivingBodies:
    """Reserve bytes for bodies in steps, so that a body holds no more than has arrived of it.

    Bodies that have arrived in part could wait for each other without end, if they shared all bytes of their tenant.
    So the bytes of one largest body are kept apart, for one body of the tenant at a time: the first that needs them
    has them until it has arrived. A body that has arrived waits for no other, so this one always completes. Bodies of
    several tenants that wait for each other are refused after `wait_s`.

    Args:
        pool: the bytes of all requests, which tenants share.
        per_tenant: the most bytes of one tenant.
        body_bytes: the largest body.
        waiting: how many bodies of a tenant may wait.
        wait_s: the longest wait of one body, of all its steps together, in seconds.
    """

    def __init__(
        self, pool: FairPool, *, per_tenant: int, body_bytes: int, waiting: int, wait_s: float = ENTITLED_WAIT_S
    ) -> None:
        self._pool = pool
        self._body_bytes = body_bytes
        self._shared_bytes = per_tenant - body_bytes
        self._waiting = waiting
        self._wait_s = wait_s
        self._tenants: dict[str, _Tenant] = {}

    @property
    def waiting(self) -> int:
        """The number of bodies that wait for others of their tenant."""
        return sum(len(tenant.waiting) for tenant in self._tenants.values())

    def begin(self, tenant: str) -> ArrivingBody:
        """Return the reservation of a body that begins to arrive, which holds no bytes yet.

        Args:
            tenant: the tenant of the caller.
        """
        if (shared := self._tenants.get(tenant)) is None:
            shared = self._tenants[tenant] = _Tenant(self._shared_bytes, self._waiting)
        shared.bodies += 1

        def end() -> None:
            shared.bodies -= 1
            if not shared.bodies:
                del self._tenants[tenant]

        return ArrivingBody(self._pool, tenant, shared, max_bytes=self._body_bytes, wait_s=self._wait_s, on_end=end)


class ArrivingBody:
    """Hold the bytes reserved for one body; `ArrivingBodies.begin` makes it.

    Args:
        pool: the bytes of all requests.
        tenant: the tenant of the caller.
        shared: what the arriving bodies of this tenant hold.
        max_bytes: the most bytes that it reserves.
        wait_s: the longest wait of all its steps together, in seconds.
        on_end: called once it is released.

    Attributes:
        held: the bytes that it has reserved.
    """

    __slots__ = ("_max_bytes", "_on_end", "_pool", "_shared", "_tenant", "_wait_s", "from_shared", "held")

    def __init__(
        self,
        pool: FairPool,
        tenant: str,
        shared: _Tenant,
        *,
        max_bytes: int,
        wait_s: float,
        on_end: Callable[[], None],
    ) -> None:
        self.held = 0
        self.from_shared = 0
        self._pool = pool
        self._tenant = tenant
        self._shared = shared
        self._max_bytes = max_bytes
        self._wait_s = wait_s
        self._on_end = on_end

    async def grow(self, received: int) -> bool:
        """Reserve bytes for all that has arrived, and return whether they were granted.

        Args:
            received: the bytes that have arrived so far.
        """
        if received <= self.held:
            return True
        amount = max(received - self.held, min(STEP_BYTES, self._max_bytes - self.held))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._wait_s):
                if not await self._shared.enter(self, amount):
                    return False
                if not await self._pool.enter(self._tenant, amount, patient=True):
                    return False
        except TimeoutError:
            return False
        finally:
            self._wait_s -= loop.time() - began
        self.held += amount
        return True

    def arrived(self, size: int) -> None:
        """Release all but the bytes of the body, which is complete."""
        surplus = self.held - size
        if surplus > 0:
            self._pool.leave(self._tenant, surplus)
            self.held = size
        self._shared.leave(self, min(max(0, surplus), self.from_shared))

    def release(self) -> None:
        """Release all bytes; nothing may be called afterwards."""
        if self.held:
            self._pool.leave(self._tenant, self.held)
        self._shared.leave(self, self.from_shared)
        self._on_end()


class _Tenant:
    # The bytes that the arriving bodies of one tenant have reserved: in the part that they share, and in the part that
    # is kept for one of them.

    __slots__ = ("_last", "_left", "_max_waiting", "bodies", "waiting")

    def __init__(self, shared_bytes: int, max_waiting: int) -> None:
        self.bodies = 0
        self.waiting: deque[tuple[asyncio.Future[bool], ArrivingBody, int]] = deque()
        self._left = shared_bytes
        self._last: ArrivingBody | None = None
        self._max_waiting = max_waiting

    async def enter(self, body: ArrivingBody, amount: int) -> bool:
        if self._last is body or (not self.waiting and self._grant(body, amount)):
            return True
        if len(self.waiting) >= self._max_waiting:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (waiter, body, amount)
        self.waiting.append(entry)
        try:
            return await waiter
        finally:
            if entry in self.waiting:
                self.waiting.remove(entry)
                self._grant_next()

    def leave(self, body: ArrivingBody, amount: int) -> None:
        body.from_shared -= amount
        self._left += amount
        if self._last is body:
            self._last = None
        self._grant_next()

    def _grant(self, body: ArrivingBody, amount: int) -> bool:
        if amount <= self._left:
            self._left -= amount
            body.from_shared += amount
            return True
        if self._last is None:
            self._last = body
            return True
        return False

    def _grant_next(self) -> None:
        while self.waiting:
            waiter, body, amount = self.waiting[0]
            if not waiter.done():
                if not self._grant(body, amount):
                    return
                waiter.set_result(True)
            self.waiting.popleft()
