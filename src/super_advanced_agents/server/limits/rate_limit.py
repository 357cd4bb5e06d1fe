"""How much a key and a tenant may ask for in a minute: counted before work begins, told in headers and trailers."""

from __future__ import annotations

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

from limits.aio.storage import SlidingWindowCounterSupport, Storage
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.errors import StorageError
from limits.storage import storage_from_string

from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError, RateLimitedError
from super_advanced_agents.tenancy.context import Principal
from super_advanced_agents.tenancy.settings import Settings

WINDOW_S = 60
_MOST_COUNTED = 50_000
"""Keys and tenants; beyond that those who have not called for longest begin anew."""
_HINT = "wait, send fewer calls, or ask the operator for a larger allowance"


class Quota(NamedTuple):
    """What is left of the allowance that ends first, the key's or the tenant's.

    Attributes:
        limit: units a minute.
        remaining: units that could be spent at once.
        reset_s: seconds until all of it is there again, if nothing more is spent.
    """

    limit: int
    remaining: int
    reset_s: int


class SlidingWindowStorage(Protocol):
    """A storage of the `limits` package that counts in sliding windows."""

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take `amount`, or nothing when that would be too much; a negative one gives back what was taken."""

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Spent in the window before, the seconds that still counts, spent in this one, the seconds that will count."""


@dataclass(slots=True)
class _Window:
    number: int
    spent: int = 0
    before: int = 0


class LocalStorage(Storage, SlidingWindowCounterSupport):
    """Counts in this process, in constant time, and forgets who has not called for two windows, or for longest.

    The `limits` package's own memory looks through all keys at every hit (0.3 ms with 2,000 of them).

    Args:
        clock: seconds, never going back.
    """

    STORAGE_SCHEME = None

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # the one used last is at the end

    def __len__(self) -> int:
        return len(self._windows)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `SlidingWindowStorage`."""
        window, into_s = self._window(key, expiry)
        if math.floor(window.before * (1 - into_s / expiry)) + window.spent + amount > limit:
            return False
        window.spent += amount
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """See `SlidingWindowStorage`."""
        window, into_s = self._window(key, expiry)
        return window.before, expiry - into_s, window.spent, 2 * expiry - into_s

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key."""
        await self.clear(key)

    def _window(self, key: str, expiry: int) -> tuple[_Window, float]:
        now = self._clock()
        number = int(now // expiry)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(number)
            self._forget(number)
        elif window.number != number:
            window.before = window.spent if window.number == number - 1 else 0
            window.spent, window.number = 0, number
        self._windows.move_to_end(key)
        return window, now - number * expiry

    def _forget(self, number: int) -> None:
        while len(self._windows) > _MOST_COUNTED or next(iter(self._windows.values())).number < number - 1:
            self._windows.popitem(last=False)

    # What the package's other strategies would count with; nothing here does.

    @property
    def base_exceptions(self) -> type[Exception]:
        """Nothing can fail."""
        return StorageError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows are not counted here."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Spent in the window that was last used."""
        window = self._windows.get(key)
        return 0 if window is None else window.spent

    async def get_expiry(self, key: str) -> float:
        """Fixed windows are not counted here."""
        raise NotImplementedError

    async def check(self) -> bool:
        """It always works."""
        return True

    async def reset(self) -> int:
        """Forget everybody; returns how many."""
        count = len(self._windows)
        self._windows.clear()
        return count

    async def clear(self, key: str) -> None:
        """Forget a key."""
        self._windows.pop(key, None)


@dataclass(frozen=True, slots=True)
class _State:
    """One allowance, looked at now."""

    of: str
    key: str
    limit: int
    before: int
    spent: int
    left_s: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.spent - math.floor(self.before * self.left_s / WINDOW_S))

    def quota(self, cost: int) -> Quota:
        whole_s = self.left_s + WINDOW_S if self.spent + cost else self.left_s if self.before else 0.0
        return Quota(self.limit, max(0, self.remaining - cost), math.ceil(whole_s))

    def wait_s(self, cost: int) -> float:
        """Until `cost` will be there: what was spent in a window fades away evenly during the next, in whole units."""
        may_remain = self.limit - cost + 1  # once less than this is left of what was spent
        if self.spent < may_remain:
            return max(0.0, self.left_s - WINDOW_S * (may_remain - self.spent) / max(1, self.before))
        return self.left_s + WINDOW_S * max(0.0, 1 - may_remain / self.spent)


@dataclass(kw_only=True)
class RateLimiter:
    """Allowances of units a minute; a call is one, and what it brings or asks for may cost more.

    They are counted in sliding windows: what was spent in one minute fades away evenly during the next, so that nobody
    gets two minutes' worth around the full minute. A call that costs more than a whole allowance takes all of it.

    Args:
        per_key: units a minute of one credential; 0 for no limit.
        per_tenant: units a minute of all credentials of a tenant together; 0 for no limit.
        storage: where they are counted; in this process when not given.
    """

    per_key: int
    per_tenant: int
    storage: SlidingWindowStorage = field(default_factory=LocalStorage)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As settings say.

        Raises:
            ConfigurationError: the storage cannot be used.
        """
        uri = settings.rate_limit_storage
        storage: SlidingWindowStorage = LocalStorage() if uri is None else _storage_at(uri.get_secret_value())
        return cls(per_key=settings.rate_limit_per_key, per_tenant=settings.rate_limit_per_tenant, storage=storage)

    async def charge(self, principal: Principal, cost: int) -> Quota | None:
        """Take what a call costs, before any of its work is done; what is left afterwards, or None without limits.

        Raises:
            RateLimitedError: an allowance is used up; nothing was taken.
            EngineUnavailableError: the storage cannot be reached.
        """
        try:
            return await self._charge(principal, cost)
        except StorageError as exc:
            raise EngineUnavailableError("the storage of the rate limits cannot be reached", hint="try later") from exc

    async def _charge(self, principal: Principal, cost: int) -> Quota | None:
        states = [
            await self._state(of, key, limit)
            for of, key, limit in (
                ("key", f"key:{principal.tenant}:{principal.key_id}", self.per_key),
                ("tenant", f"tenant:{principal.tenant}", self.per_tenant),
            )
            if limit
        ]
        for state in states:
            if min(cost, state.limit) > state.remaining:
                raise _used_up(state, cost)
        acquire = self.storage.acquire_sliding_window_entry
        async with contextlib.AsyncExitStack() as refunds:
            for state in states:
                amount = min(cost, state.limit)
                if not await acquire(state.key, state.limit, WINDOW_S, amount):  # another process was quicker
                    raise _used_up(await self._state(state.of, state.key, state.limit), cost)
                refunds.push_async_callback(acquire, state.key, state.limit, WINDOW_S, -amount)
            refunds.pop_all()
        return min((state.quota(min(cost, state.limit)) for state in states), key=_remaining, default=None)

    async def _state(self, of: str, key: str, limit: int) -> _State:
        before, _, spent, left_s = await self.storage.get_sliding_window(key, WINDOW_S)
        return _State(of, key, limit, before, spent, max(0.0, left_s - WINDOW_S))


def quota_headers(quota: Quota | None) -> list[tuple[bytes, bytes]]:
    """The headers of a response that tell what is left."""
    if quota is None:
        return []
    return [
        (b"ratelimit-limit", b"%d" % quota.limit),
        (b"ratelimit-remaining", b"%d" % quota.remaining),
        (b"ratelimit-reset", b"%d" % quota.reset_s),
    ]


def quota_metadata(quota: Quota | None) -> tuple[tuple[str, str], ...]:
    """The same as the trailing metadata of a gRPC call."""
    return tuple((name.decode(), value.decode()) for name, value in quota_headers(quota))


def _remaining(quota: Quota) -> int:
    return quota.remaining


def _used_up(state: _State, cost: int) -> RateLimitedError:
    wait_s = state.wait_s(min(cost, state.limit)) + 0.1
    return RateLimitedError(
        f"the call costs {cost}, and {state.remaining} are left of the {state.of}'s {state.limit} units a minute",
        retry_after_s=round(wait_s, 1),
        hint=_HINT,
    )


def _storage_at(uri: str) -> SlidingWindowStorage:
    """The storage of the `limits` package behind a URI such as `valkey://localhost:6379`."""
    storage: object = None
    with contextlib.suppress(LimitsConfigurationError):  # its message repeats the URI, which may hold a password
        storage = storage_from_string(f"async+{uri.removeprefix('async+')}", wrap_exceptions=True)
    if not isinstance(storage, SlidingWindowCounterSupport):
        raise ConfigurationError(
            "the setting 'rate_limit_storage' is not the URI of a storage that can count here",
            hint="leave it out to count in this process, or write valkey://HOST:PORT and install the package `valkey`",
        )
    return storage
