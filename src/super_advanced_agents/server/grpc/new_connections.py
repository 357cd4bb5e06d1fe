"""The rate of new gRPC connections by address; addresses that may open none for a while."""

from __future__ import annotations

from dataclasses import dataclass

from super_advanced_agents.server.packet_filter import MAX_CLIENTS

_PER_S = 100.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(slots=True)
class _Rate:
    left: float
    at: float
    pause_s: float = _FIRST_PAUSE_S / 2
    paused_until: float = 0.0


class NewConnections:
    """Count the new connections of each address, and pause those that open too many.

    An address may open 100 a second, and `burst` at once. One that opens more is paused for a second, then for two, and
    so on up to a minute, until it has opened few for as long.

    Args:
        burst: the connections that one address may open at once.
    """

    def __init__(self, burst: int) -> None:
        self._burst = float(burst)
        self._rates: dict[str, _Rate] = {}

    def note(self, client: str, now: float) -> bool:
        """Count a new connection; return whether its address has opened too many.

        Args:
            client: the address, as `connections.client_of` returns it.
            now: the time of the event loop.
        """
        rate = self._rates.get(client)
        if rate is None:
            rate = self._rates[client] = _Rate(self._burst, now)
        rate.left = min(self._burst, rate.left + (now - rate.at) * _PER_S) - 1
        rate.at = now
        return rate.left < 0 and now >= rate.paused_until

    def pause(self, client: str, now: float) -> None:
        """Pause an address that `note` has counted."""
        rate = self._rates[client]
        rate.pause_s = min(_LONGEST_PAUSE_S, 2 * rate.pause_s)
        rate.paused_until = now + rate.pause_s

    def paused(self, now: float) -> frozenset[str]:
        """Return the addresses that are paused now, the worst of them if there are too many."""
        for client, rate in list(self._rates.items()):
            quiet_s = self._burst / _PER_S + 2 * rate.pause_s
            if now - max(rate.at, rate.paused_until) >= quiet_s:
                del self._rates[client]
        paused = [client for client, rate in self._rates.items() if now < rate.paused_until]
        return frozenset(sorted(paused, key=lambda client: -self._rates[client].pause_s)[:MAX_CLIENTS])
