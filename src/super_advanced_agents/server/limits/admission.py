"""Admission control: permits to run, and bounds on the bytes of requests and open streams."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.limits.arriving import ArrivingBodies
from super_advanced_agents.server.limits.fair_pool import WAIT_S, FairPool
from super_advanced_agents.server.limits.shared import SharedLimits
from super_advanced_agents.telemetry import histogram, stage
from super_advanced_agents.tenancy.settings import Settings

RETRY_AFTER_S = 1.0
NOBODY = ""
"""The tenant of public requests, whose callers share the limits of one tenant."""

SMALL_BYTES = 64 * 1024
"""The size up to which the bytes of a request do not count."""

_MIB = 1024 * 1024
_PERMITS_FOR_ONE_WAITING = 32
_REQUEST_BYTES, _REQUEST_BYTES_PER_TENANT = 96 * _MIB, 64 * _MIB
_BODIES_WAITING = 32
_STREAMS_PER_TENANT = 16
_TENANTS_WITH_ALL_STREAMS = 4
_MAX_CREDENTIALS = 4_096


class Admission:
    """Share permits, bytes of requests and streams among tenants, for REST and gRPC together.

    It belongs to one event loop. A permit is taken once a request has arrived as a whole, and is held only while the
    server works on it.

    Args:
        permits: how many requests of each kind may run concurrently. One more for every 32 may wait for a permit:
            permits come free in bursts, so more would wait in vain, and refusing a request that has waited costs more.
        wait_s: the longest wait for a permit of a tenant that has its share, in seconds.
        streams_per_tenant: how many streams of messages a tenant may have open.
        message_bytes: the largest request in bytes.
        body_stall_s: the time within which each further 64 KiB of a body must arrive, in seconds.
        shared: shares the permits and the streams with other replicas; None if there is one.

    Attributes:
        request_bytes: the bytes of requests that have arrived in part, or are being worked on.
        arriving: reserves these bytes for bodies of REST while they arrive.
        streams: the open streams of messages from clients.
        message_bytes: the largest request in bytes.
        body_stall_s: the time within which each further 64 KiB of a body must arrive, in seconds.
        waits: the waits for permits of each kind; a permit that is free at once is no wait.
        refused: the number of requests of each kind that got no permit.
    """

    def __init__(
        self,
        *,
        permits: Mapping[PermitKind, int],
        wait_s: float = WAIT_S,
        streams_per_tenant: int = _STREAMS_PER_TENANT,
        message_bytes: int = 8 * _MIB,
        body_stall_s: float = 5.0,
        shared: SharedLimits | None = None,
    ) -> None:
        self._pools = {
            kind: FairPool(capacity=count, waiting=max(1, count // _PERMITS_FOR_ONE_WAITING), wait_s=wait_s)
            for kind, count in permits.items()
        }
        self.waits = {kind: histogram("permit_wait_seconds", kind=kind.value) for kind in permits}
        self.refused = dict.fromkeys(permits, 0)
        self._arriving_now: Counter[tuple[PermitKind, str]] = Counter()
        self._saturated = tuple(pool.saturated for pool in self._pools.values())
        self.message_bytes = message_bytes
        self.body_stall_s = body_stall_s
        per_tenant = max(_REQUEST_BYTES_PER_TENANT, message_bytes)
        self.request_bytes = FairPool(
            capacity=max(_REQUEST_BYTES, message_bytes),
            per_tenant=per_tenant,
            waiting=_BODIES_WAITING,
            entitled_waiting=_BODIES_WAITING,
        )
        self.arriving = ArrivingBodies(
            self.request_bytes, per_tenant=per_tenant, body_bytes=message_bytes, waiting=_BODIES_WAITING
        )
        self.streams = FairPool(
            capacity=_TENANTS_WITH_ALL_STREAMS * streams_per_tenant, per_tenant=streams_per_tenant, waiting=0
        )
        self._streams_per_tenant = streams_per_tenant
        self._tenants: dict[int, str] = {}
        self._shared = shared
        if shared is not None:
            shared.share({kind.value: pool for kind, pool in self._pools.items()}, self.streams)

    @classmethod
    def of(cls, settings: Settings, shared: SharedLimits | None = None) -> Self:
        """Create an `Admission` with the numbers of permits and streams in the settings."""
        return cls(
            permits={
                PermitKind.SEARCH: settings.searches_in_flight,
                PermitKind.WRITE: settings.writes_in_flight,
                PermitKind.GENERATE: settings.generations_in_flight,
            },
            streams_per_tenant=settings.streams_per_tenant,
            message_bytes=settings.max_body_bytes,
            body_stall_s=settings.body_stall_s,
            shared=shared,
        )

    def pool(self, kind: PermitKind) -> FairPool:
        """Return the pool of the permits for one kind of request."""
        return self._pools[kind]

    def enter(self, kind: PermitKind | None, tenant: str, *, patient: bool = False) -> Permit:
        """Return an async context manager that holds a permit for one kind of request.

        Args:
            kind: the kind of the permit; None for requests that need none.
            tenant: the tenant on whose behalf the block runs.
            patient: wait for the tenant's turn, however much it holds.

        Raises (when the permit is entered):
            OverloadedError: too many requests of the tenant wait, or no permit came free in time.
        """
        return Permit(self, kind, tenant, patient=patient)

    @asynccontextmanager
    async def stream(self, tenant: str) -> AsyncIterator[None]:
        """Enter a context in which a stream of messages from a tenant is open.

        Raises:
            OverloadedError: too many are open, in all replicas together.
        """
        if not self.streams.enter_now(tenant):
            raise too_many_streams_error()
        try:
            if self._shared is not None and not await self._shared.enter_stream(tenant, self._streams_per_tenant):
                raise too_many_streams_error()
            yield
        finally:
            self.streams.leave(tenant)
            if self._shared is not None:
                self._shared.leave_stream(tenant)

    @property
    def is_saturated(self) -> bool:
        """True if the next request of some tenant and kind would be refused at once."""
        return any(self._saturated)

    @property
    def is_busy(self) -> bool:
        """True if requests of some kind may be too many when several arrive together."""
        return any(pool.is_busy for pool in self._pools.values())

    def may_arrive(self, kind: PermitKind | None, tenant: str | None) -> bool:
        """Return whether a request seems to get a permit, and count it as one that arrives.

        Requests that arrive in one pass of the event loop ask for permits in the next one. All but those that have a
        chance are refused before anything is made for them, as a refusal later costs five times as much.
        """
        if kind is None or tenant is None:
            return True
        pool = self._pools[kind]
        arriving = self._arriving_now[kind, tenant]
        if tenant in pool.saturated or arriving >= pool.places_for(tenant):
            return False
        if not self._arriving_now:
            asyncio.get_running_loop().call_soon(self._arriving_now.clear)
        self._arriving_now[kind, tenant] = arriving + 1
        return True

    def refuses(self, kind: PermitKind | None, tenant: str | None) -> bool:
        """Return whether the next request of this kind and tenant would be refused at once."""
        return kind is not None and tenant in self._pools[kind].saturated

    def remember_caller(self, credential: str, tenant: str) -> None:
        """Remember the tenant of a valid credential, in a memory of 4,096 credentials.

        Only the hash of the credential is kept. It serves to refuse requests, never to admit one.
        """
        key = hash(credential)
        if self._tenants.get(key) != tenant:
            self._tenants[key] = tenant
            if len(self._tenants) > _MAX_CREDENTIALS:
                del self._tenants[next(iter(self._tenants))]

    def remembered_tenant(self, credential: str) -> str | None:
        """Return the tenant that sent this credential before; None for an unknown one."""
        return self._tenants.get(hash(credential))


class Permit:
    """Hold a permit while the block of this async context manager runs.

    Args:
        admission: grants the permit.
        kind: the kind of the permit; None for requests that need none.
        tenant: the tenant on whose behalf the block runs.
        patient: wait for the tenant's turn, however much it holds.
    """

    __slots__ = ("_admission", "_busy", "_kind", "_parts_waiting", "_patient", "_tenant", "_wanted")

    def __init__(self, admission: Admission, kind: PermitKind | None, tenant: str, *, patient: bool) -> None:
        self._admission = admission
        self._wanted = kind
        self._kind: PermitKind | None = None  # of the permit that it holds
        self._tenant = tenant
        self._patient = patient
        self._busy = False  # whether a part works with it
        self._parts_waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Self:
        if self._wanted is not None:
            await self._enter(self._wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def exchange(self, kind: PermitKind) -> None:
        """Give the permit back, and wait for one of another kind, for the rest of the block.

        Raises:
            OverloadedError: too many requests of that kind are running; no permit is held any more.
        """
        if kind is not self._kind:
            self._leave()  # before the wait, so that two kinds never wait for each other
            await self._enter(kind)

    def give_back(self) -> None:
        """Give the permit back before the block ends, since only the client is awaited from here on."""
        self._leave()

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """Enter a context for one of several concurrent parts of the call's work.

        The first part works with the call's own permit. Each further one takes a permit of the tenant's share if one is
        free, and otherwise waits for its turn on the call's own, so that a call never waits for other calls.
        """
        pool = None if self._kind is None else self._admission.pool(self._kind)
        if pool is None:
            yield
        elif self._busy and pool.enter_now(self._tenant):
            try:
                yield
            finally:
                pool.leave(self._tenant)
        else:
            await self._wait_for_own()
            try:
                yield
            finally:
                self._release_own()

    async def _wait_for_own(self) -> None:
        if not self._busy:
            self._busy = True
            return
        waiter = asyncio.get_running_loop().create_future()
        self._parts_waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release_own()
            raise

    def _release_own(self) -> None:
        self._busy = False
        while self._parts_waiting:
            waiter = self._parts_waiting.popleft()
            if not waiter.done():
                self._busy = True
                waiter.set_result(None)
                return

    async def _enter(self, kind: PermitKind) -> None:
        pool = self._admission.pool(kind)
        if not pool.enter_now(self._tenant):
            with stage("queue"), self._admission.waits[kind].time():
                granted = await pool.enter(self._tenant, patient=self._patient)
            if not granted:
                self._admission.refused[kind] += 1
                raise overloaded_error(kind)
        self._kind = kind

    def _leave(self) -> None:
        kind, self._kind = self._kind, None
        if kind is not None:
            self._admission.pool(kind).leave(self._tenant)


def overloaded_error(kind: PermitKind) -> OverloadedError:
    """Return the error for a request that is refused because too many of its kind are running.

    Args:
        kind: the kind of the permit.
    """
    return OverloadedError(
        f"too many calls of this kind ({kind.value}) are under way",
        retry_after_s=RETRY_AFTER_S,
        hint="try again later, or send fewer at once",
    )


def too_many_bytes_error() -> OverloadedError:
    """Return the error for a request that is refused because too many bytes of others are held."""
    return OverloadedError(
        "too many large requests of this tenant are under way",
        retry_after_s=RETRY_AFTER_S,
        hint="try again later, send fewer at once, or send smaller ones",
    )


def too_many_streams_error() -> OverloadedError:
    """Return the error for a stream of messages that is refused because too many are open."""
    return OverloadedError(
        "too many streams of this tenant are open",
        retry_after_s=RETRY_AFTER_S,
        hint="end some, or send several messages over one",
    )
