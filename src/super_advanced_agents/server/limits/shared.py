"""Limits that the replicas of one service share in Valkey.

Rate limits are charged there, one script for each call. Permits are not asked for one by one, since each would cost a
round trip: a replica holds a part of all permits for three seconds, renews it twice a second, and a part that is not
renewed, because the replica has died, returns to the others. Without Valkey each replica goes on by itself with an
equal part, and it never waits for Valkey longer than `TIMEOUT_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.limits.fair_pool import FairPool
from super_advanced_agents.server.limits.scripts import CHARGE, ENTER_STREAM, LEAVE, RENEW
from super_advanced_agents.server.limits.windows import WINDOW_S, Charge, ChargeResult, Spending
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.settings import Settings

if TYPE_CHECKING:
    from valkey.asyncio import Valkey

_log = get_logger("server")

TIMEOUT_S = 0.2
"""The longest wait for one answer of Valkey; a script takes 0.2 ms."""
INTERVAL_S = 0.5
LEASE_S = 3.0
"""The time after which the permits of a replica that has died return to the others."""
_MAX_CONNECTIONS = 32
_PREFIX = "saa:"
_REPLICAS, _STREAMS, _RATE = f"{_PREFIX}replicas", f"{_PREFIX}streams:", f"{_PREFIX}rate:"
_SCHEMES = frozenset({"valkey", "valkeys", "redis", "rediss", "unix"})


class SharedLimits:
    """Share rate limits, permits and streams with the other replicas of a service, in Valkey.

    It belongs to one event loop. While Valkey does not answer, nothing waits for it, and a task tries again twice a
    second.

    Args:
        url: the URL of Valkey, such as `valkey://host:6379/0`.
        interval_s: the time between two renewals, in seconds.
        lease_s: the time after which a replica that renews nothing holds nothing, in seconds.

    Attributes:
        replicas: the number of replicas, as far as this one knows, itself included.
        up: True while Valkey answers.

    Raises:
        ConfigurationError: the URL is not one of Valkey, or its library is not installed.
    """

    def __init__(self, url: str, *, interval_s: float = INTERVAL_S, lease_s: float = LEASE_S) -> None:
        self.replicas = 1
        self.up = False
        self._valkey = _client(url)
        self._id = secrets.token_hex(8)
        self._interval_s = interval_s
        self._lease_s = lease_s
        self._pools: dict[str, FairPool] = {}
        self._totals: dict[str, int] = {}
        self._streams: FairPool | None = None
        self._ended: set[str] = set()  # tenants whose streams ended since the last renewal
        self._awake = asyncio.Event()
        self._renewed_at = float("-inf")
        self._failing = self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Create the `SharedLimits` that the settings name; None if they name none."""
        return None if settings.shared_limits is None else cls(settings.shared_limits.get_secret_value())

    def share(self, pools: Mapping[str, FairPool], streams: FairPool) -> None:
        """Share the capacity of pools, and each tenant's streams, from the next renewal on.

        Args:
            pools: the pools by a name that they have in every replica; their capacity is that of all replicas together.
            streams: the pool of open streams.
        """
        self._pools = dict(pools)
        self._totals = {name: pool.capacity for name, pool in pools.items()}
        self._streams = streams

    async def __aenter__(self) -> Self:
        await self._renew()
        self._task = asyncio.create_task(self._keep_renewing(), name="renew shared limits")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._stopping = True
        self._awake.set()
        await self._task  # not cancelled: within a call of Valkey's client that leaves a connection open
        await self._run(LEAVE, [_REPLICAS], [self._id])
        with contextlib.suppress(Exception):
            await self._valkey.aclose()

    async def charge(self, charges: Sequence[Charge], *, settle: bool = False) -> ChargeResult | None:
        """Charge units to several windows, to all or to none; return None without Valkey.

        Args:
            charges: the windows and the units.
            settle: charge to each window what it has left at most, and refuse nothing.
        """
        if not self.up:
            return None
        arguments = [WINDOW_S, int(settle), *(number for charge in charges for number in charge[1:])]
        reply = await self._run(CHARGE, [_RATE + charge.key for charge in charges], arguments)
        if reply is None:
            return None
        charged, left_ms, *spent = map(int, reply)
        spendings = [Spending(spent[at], spent[at + 1], left_ms / 1000) for at in range(0, len(spent), 2)]
        return ChargeResult(bool(charged), spendings)

    async def enter_stream(self, tenant: str, limit: int) -> bool:
        """Return whether another stream of a tenant may be open, among those of all replicas.

        Args:
            tenant: the tenant; this replica has counted the stream in its own pool already.
            limit: the most streams of one tenant in all replicas together.
        """
        assert self._streams is not None
        held = self._streams.held_by(tenant)
        if self.up:
            arguments = [self._id, self._lease_ms, limit, held]
            reply = await self._run(ENTER_STREAM, [_STREAMS + tenant], arguments)
            if reply is not None:
                return bool(reply)
        return held <= max(1, limit // self.replicas)

    def leave_stream(self, tenant: str) -> None:
        """Tell the other replicas, a moment later, that a stream of this tenant has ended."""
        self._ended.add(tenant)
        self._awake.set()

    @property
    def _lease_ms(self) -> int:
        return round(self._lease_s * 1000)

    async def _keep_renewing(self) -> None:
        loop = asyncio.get_running_loop()
        renewal_at = loop.time() + self._interval_s
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(renewal_at):
                    await self._awake.wait()
            self._awake.clear()
            if loop.time() >= renewal_at:
                renewal_at = loop.time() + self._interval_s
                await self._renew()
            else:
                await self._renew_streams()

    async def _renew(self) -> None:
        demands = []
        for name, pool in self._pools.items():
            total = self._totals[name]
            # Twice the peak, so that this replica can come to hold all permits within a few renewals.
            wanted = min(total, max(1, total // 8, 2 * pool.peak))
            demands += [total, wanted, pool.in_flight]
            pool.reset_peak()
        reply = await self._run(RENEW, [_REPLICAS], [self._id, self._lease_ms, *demands], probing=True)
        loop = asyncio.get_running_loop()
        if reply is not None:
            self.replicas, *parts = map(int, reply)
            self._renewed_at = loop.time()
            for pool, capacity in zip(self._pools.values(), parts, strict=True):
                pool.resize(capacity)
            self._set_up(True)
            await self._renew_streams()
        elif loop.time() - self._renewed_at >= self._lease_s:  # the other replicas count on it no longer
            for name, pool in self._pools.items():
                pool.resize(max(1, self._totals[name] // self.replicas))

    async def _renew_streams(self) -> None:
        if self._streams is None:
            return
        ended, self._ended = self._ended, set()
        for tenant in ended.union(self._streams.tenants()):
            held = self._streams.held_by(tenant)
            await self._run(ENTER_STREAM, [_STREAMS + tenant], [self._id, self._lease_ms, 0, held])

    def _set_up(self, up: bool, reason: str = "") -> None:
        if up and self._failing:
            _log.info("server.limits_shared_again", extra={"replicas": self.replicas})
        elif not up and not self._failing:
            _log.warning("server.limits_not_shared", extra={"reason": reason, "replicas": self.replicas})
        self.up, self._failing = up, not up

    async def _run(self, script: str, keys: list[str], arguments: list[Any], *, probing: bool = False) -> Any:
        # None when Valkey does not answer in time. Its errors tell nothing that a caller could use.
        from valkey.exceptions import ValkeyError

        if not (self.up or probing):
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await cast("Awaitable[Any]", self._valkey.eval(script, len(keys), *keys, *arguments))
        except (ValkeyError, OSError, TimeoutError) as exc:
            self._set_up(False, type(exc).__name__)
            return None


def _client(url: str) -> Valkey:
    if urlsplit(url).scheme not in _SCHEMES:
        raise ConfigurationError(
            "the setting 'shared_limits' is not the URL of a Valkey server",
            hint="write valkey://HOST:PORT, or leave it out if there is one replica",
        )
    try:
        from valkey.asyncio import BlockingConnectionPool, Valkey
    except ImportError as exc:
        raise ConfigurationError(
            "the setting 'shared_limits' needs the package `valkey`",
            hint="pip install 'super-advanced-agents[valkey]'",
        ) from exc
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
    except ValueError as exc:  # its message may repeat the password
        raise ConfigurationError(
            "the setting 'shared_limits' is not a URL that Valkey's client understands",
            hint="write valkey://USER:PASSWORD@HOST:PORT/DATABASE",
        ) from exc
    return Valkey.from_pool(pool)  # closing the client closes it
