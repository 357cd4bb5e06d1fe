"""Caps on open connections, in all and for each address, and the choice of those to close."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Protocol


class Connection(Protocol):
    """Define the interface of an accepted connection that counts towards the caps."""

    @property
    def is_authenticated(self) -> bool:
        """True once a request on it had a valid credential."""

    @property
    def idle_since(self) -> float | None:
        """The event loop's time since when nothing works for it; None while something does."""

    def abort(self) -> None:
        """Close it at once."""


class ConnectionCaps:
    """Keep the open connections of one listener below a cap in all and one for each address.

    A connection is authenticated once a request on it had a valid credential. When a cap is reached, an idle connection
    that is not is closed for the new one: the oldest of the address that has the most of them. So they cannot keep
    callers with a credential out. Behind a reverse proxy all connections have one address; those that are authenticated
    do not count towards its cap.

    Args:
        max_connections: open connections in all.
        max_unauthenticated: open connections of one address that are not authenticated.
        grace_s: a connection that has been idle for less than this time is not closed for another.
    """

    def __init__(self, *, max_connections: int, max_unauthenticated: int, grace_s: float = 0.25) -> None:
        self._max_connections = max_connections
        self._max_unauthenticated = max_unauthenticated
        self._grace_s = grace_s
        self._unauthenticated: dict[str, dict[Connection, None]] = {}
        self._authenticated: dict[Connection, None] = {}
        self._addresses: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def admit(self, address: str, now: float) -> bool:
        """Return whether another connection may be opened, after closing an idle one if needed.

        Args:
            address: the address of the client, as `client_of` returns it.
            now: the time of the event loop.
        """
        same = self._unauthenticated.get(address, {})
        if len(same) >= self._max_unauthenticated and not self._close_unauthenticated(
            same, now, below=self._max_unauthenticated
        ):
            return False
        return len(self) < self._max_connections or self.close_one(now)

    def close_one(self, now: float) -> bool:
        """Close one idle connection, and return whether there was one; authenticated ones go last.

        Args:
            now: the time of the event loop.
        """
        for same in sorted(self._unauthenticated.values(), key=len, reverse=True):
            if self._close_unauthenticated(same, now):
                return True
        return self._close_idle(self._authenticated, now)

    def add(self, connection: Connection, address: str) -> None:
        """Count a connection until `remove`."""
        self._addresses[connection] = address
        self._unauthenticated.setdefault(address, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended; one that is not counted is ignored."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._authenticated.pop(connection, None)
            self._forget_unauthenticated(connection, address)

    def _close_unauthenticated(self, same: dict[Connection, None], now: float, below: int = 0) -> bool:
        for connection in list(same):
            if connection.is_authenticated:
                self._forget_unauthenticated(connection, self._addresses[connection])
                self._authenticated[connection] = None
                if len(same) < below:
                    return True
            elif self._is_idle(connection, now):
                self._close(connection)
                return True
        return False

    def _close_idle(self, connections: Iterable[Connection], now: float) -> bool:
        idle = [connection for connection in connections if self._is_idle(connection, now)]
        if not idle:
            return False
        self._close(min(idle, key=lambda connection: connection.idle_since or 0.0))
        return True

    def _is_idle(self, connection: Connection, now: float) -> bool:
        since = connection.idle_since
        return since is not None and now - since >= self._grace_s

    def _close(self, connection: Connection) -> None:
        self.remove(connection)
        connection.abort()

    def _forget_unauthenticated(self, connection: Connection, address: str) -> None:
        same = self._unauthenticated.get(address)
        if same is not None:
            same.pop(connection, None)
            if not same:
                del self._unauthenticated[address]


def client_of(address: str) -> str:
    """Return what counts as one address: all of an IPv4 address, 64 bits of an IPv6 address."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
