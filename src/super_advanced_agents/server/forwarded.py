"""The addresses of callers behind reverse proxies that the operator trusts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

FORWARDED_FIELD = "x-forwarded-for"
"""The header, or metadata of gRPC, to which each proxy appends its caller's address."""

_FOR, _PROTO = FORWARDED_FIELD.encode(), b"x-forwarded-proto"
_MAX_HOPS = 16


class TrustedProxies:
    """Know the proxies that are trusted to name the address of a caller.

    A proxy appends to `X-Forwarded-For`, and what a caller has put there stands to the left of it. So the caller is
    the rightmost address that is no proxy's, and the header of a peer that is no trusted proxy says nothing.

    Args:
        networks: addresses, and networks such as `10.0.0.0/8`.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)
        self._trusts = lru_cache(maxsize=1024)(self._is_proxy)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def caller(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address of a caller.

        Args:
            peer: the address that the connection comes from.
            forwarded: the values of the request's `X-Forwarded-For` headers, in their order.

        Returns:
            `peer` if it is no trusted proxy, or says nothing that can be read.
        """
        if not forwarded or not self._trusts(peer):
            return peer
        caller = peer
        hops = [hop.strip() for hop in ",".join(forwarded).rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]]
        for hop in reversed(hops):
            address = _address_of(hop)
            if address is None:  # from here on to the left nothing was written by a proxy
                break
            caller = address
            if not self._trusts(address):
                break
        return caller

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


class ForwardedCallers:
    """Take a caller's address and scheme from trusted proxies, as middleware.

    Args:
        app: the application behind it.
        proxies: the proxies that are trusted.
    """

    def __init__(self, app: ASGIApp, *, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] == "http" and client is not None:
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == _FOR]
            caller = self._proxies.caller(client[0], forwarded)
            if caller != client[0]:
                scope["client"] = (caller, 0)
                schemes = [value for name, value in scope["headers"] if name == _PROTO]
                if schemes in ([b"http"], [b"https"]):
                    scope["scheme"] = schemes[0].decode()
        await self._app(scope, receive, send)


def _address_of(hop: str) -> str | None:
    # `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::7` or `[2001:db8::7]:4711`
    host = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
