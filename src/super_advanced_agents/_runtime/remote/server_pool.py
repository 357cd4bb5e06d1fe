"""The choice among several equal servers, by load and by how their last requests ended."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from super_advanced_agents.errors import ConfigurationError, OverloadedError, RateLimitedError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("servers")

MAX_SERVERS = 64
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_LATENCIES = 200
_MIN_LATENCIES = 20
_MIN_HEDGE_S = 0.005
_HEDGES_PER_REQUEST = 0.05
_MAX_SAVED_HEDGES = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """Hold the state and the counters of one of several servers.

    Attributes:
        server: the host and port, without the path and without a key.
        up: False while it is left out, because its last request failed.
        in_flight: the requests that wait for it now.
        requests: the requests that were sent to it.
        failures: those that failed for a reason of the server's.
        hedges: those that were sent because another server was slow.
        retry_in_s: the time after which it is tried again; 0 while it is up.
        error: the reason of the last failure; None while it is up.
    """

    server: str
    up: bool
    in_flight: int
    requests: int
    failures: int
    hedges: int
    retry_in_s: float
    error: str | None


@dataclass(slots=True, eq=False)
class Server:
    """Represent one server of a pool; only the pool changes it.

    Attributes:
        place: its place in the list of the addresses, from 0.
        name: its host and port.
    """

    place: int
    name: str
    in_flight: int = 0
    requests: int = 0
    failures: int = 0
    hedges: int = 0
    failed_in_a_row: int = 0
    out_until: float = 0.0
    last_used: float = 0.0
    error: str | None = None
    latencies: dict[int, deque[float]] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """True unless its last request failed."""
        return not self.failed_in_a_row


class ServerPool:
    """Choose among equal servers: the least loaded one whose last request did not fail. Thread-safe.

    A server that fails is left out for 0.5 s, twice as long after each further failure, at most 30 s; a random part of
    that time is taken off, so that several clients do not come back at once. Then one request tries it, while the
    others still go elsewhere. Nothing is sent to a server only to check it.

    Args:
        urls: the base URL of each.
        kind: what they do, for log records, such as `"embedding"`.
        clock: the clock; monotonic seconds.
    """

    def __init__(self, urls: Sequence[str], *, kind: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers = [Server(place, urlsplit(url).netloc) for place, url in enumerate(urls)]
        self._kind = kind
        self._clock = clock
        self._lock = threading.Lock()
        self._saved_hedges = 0.0

    def __len__(self) -> int:
        """Return the number of servers."""
        return len(self._servers)

    def begin(self, *, without: Collection[Server] = (), hedge: bool = False) -> Server | None:
        """Choose a server for a request that begins now; `end` must follow.

        Where all are left out, it is the one that would be tried first.

        Args:
            without: servers that were tried already.
            hedge: the request is the second of two, and only to a server that is up; at most 5% of all are.

        Returns:
            None if there is none.
        """
        with self._lock:
            now = self._clock()
            left = [server for server in self._servers if server not in without]
            ready = [
                server
                for server in left
                if server.up or (now >= server.out_until and not server.in_flight and not hedge)
            ]
            if hedge:
                if not ready or self._saved_hedges < 1:
                    return None
                self._saved_hedges -= 1
            elif left:
                self._saved_hedges = min(_MAX_SAVED_HEDGES, self._saved_hedges + _HEDGES_PER_REQUEST)
            if ready:
                chosen = min(ready, key=lambda server: (server.in_flight, server.last_used))
            elif left:
                chosen = min(left, key=lambda server: server.out_until)
            else:
                return None
            chosen.in_flight += 1
            chosen.requests += 1
            chosen.hedges += hedge
            chosen.last_used = now
            return chosen

    def end(
        self, server: Server, *, error: Exception | None = None, took_s: float | None = None, size: int = 1
    ) -> None:
        """Record how a request ended.

        Args:
            server: the server that `begin` chose.
            error: the failure that the server is to blame for; None for none.
            took_s: the time that a complete answer took; None where the request was cancelled.
            size: the size of the request, such as its number of texts; like sizes are compared.
        """
        with self._lock:
            server.in_flight -= 1
            if error is not None:
                self._leave_out(server, error)
            elif took_s is not None:
                server.latencies.setdefault(_class_of(size), deque(maxlen=_LATENCIES)).append(took_s)
                if not server.up:
                    _log.info("servers.back", extra={"kind": self._kind, "server": server.name})
                server.failed_in_a_row, server.error = 0, None

    def hedge_after_s(self, size: int) -> float | None:
        """Return the 95th percentile of the times of this size; None while too few are known."""
        with self._lock:
            known = sorted(took_s for server in self._servers for took_s in server.latencies.get(_class_of(size), ()))
        if len(known) < _MIN_LATENCIES or len(self._servers) < 2:
            return None
        return max(_MIN_HEDGE_S, known[math.ceil(0.95 * len(known)) - 1])

    def status(self) -> list[ServerStatus]:
        """Return the state and the counters of each server, in the order of their addresses."""
        with self._lock:
            now = self._clock()
            return [
                ServerStatus(
                    server=server.name,
                    up=server.up,
                    in_flight=server.in_flight,
                    requests=server.requests,
                    failures=server.failures,
                    hedges=server.hedges,
                    retry_in_s=0.0 if server.up else max(0.0, round(server.out_until - now, 3)),
                    error=server.error,
                )
                for server in self._servers
            ]

    def _leave_out(self, server: Server, error: Exception) -> None:
        server.failures += 1
        now = self._clock()
        server.error = getattr(error, "message", None) or type(error).__name__
        if server.out_until > now:
            return  # requests that were sent together fail together, which is one failure
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(server.failed_in_a_row, 16))
        pause_s *= random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets
        if isinstance(error, RateLimitedError | OverloadedError):
            pause_s = max(pause_s, min(_MAX_PAUSE_S, error.retry_after_s))
        server.failed_in_a_row += 1
        server.out_until = now + pause_s
        _log.warning(
            "servers.left_out",
            extra={"kind": self._kind, "server": server.name, "reason": server.error, "retry_in_s": round(pause_s, 3)},
        )


def one_key_each(keys: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    """Return the key of each of `count` servers: the same for all, or one for each.

    Raises:
        ConfigurationError: there are neither one nor `count` keys, or more than 64 servers, or none.
    """
    if not 1 <= count <= MAX_SERVERS:
        raise ConfigurationError(f"base_url names {count} servers; it takes 1 to {MAX_SERVERS}")
    given = [keys] if keys is None or isinstance(keys, str) else list(keys)
    if len(given) <= 1:
        return (given or [None]) * count
    if len(given) != count:
        raise ConfigurationError(
            f"api_key has {len(given)} keys for {count} servers", hint="give one key for all of them, or one for each"
        )
    return given


def _class_of(size: int) -> int:
    return size.bit_length() // 2
