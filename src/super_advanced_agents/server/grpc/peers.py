"""The open connections of the gRPC listener: their tenants, and which have to be closed.

gRPC's core accepts connections without any callback, and has no function that closes one. So the process looks through
its own descriptors, and ends a connection by shutting its socket down, at which the core closes it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Set
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.server.connections import ConnectionCaps, client_of
from super_advanced_agents.server.grpc.new_connections import NewConnections
from super_advanced_agents.server.limits.admission import NOBODY
from super_advanced_agents.server.packet_filter import drop_new_connections
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.settings import Settings

_Key: TypeAlias = tuple[int, int]
"""A descriptor and its inode, which differs once the descriptor was closed and opened again."""
_Address: TypeAlias = tuple[str, int]

_DESCRIPTORS = Path("/dev/fd")
_LOOK_S = 0.25
"""The pause between two scans of the descriptors; a scan takes 2 us a descriptor."""
_FLOOD_LOOK_S = 0.02
"""The pause while connections are being closed: in a flood, new ones soon reach the cap."""
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_RECEIVED_AT = 128
"""The offset of `tcpi_bytes_received`, the bytes of a connection, in Linux's `tcp_info`."""
_CALL_BYTES = 512
"""The metadata and frames that come with a message, by estimate."""
_FREE_PART = 8
"""An eighth of the connections stays free for callers who connect between two scans."""

_log = get_logger("server")

calling_peer: ContextVar[str] = ContextVar("calling_peer", default="")
"""The connection of the call of a public method that this task serves, as gRPC names it."""


class Peers:
    """Track the open connections of a gRPC listener, and close those beyond `ConnectionCaps`.

    An object belongs to one event loop.

    Args:
        settings: the caps.
    """

    def __init__(self, settings: Settings) -> None:
        most = settings.max_connections
        # No grace period: in a flood it would refuse the newest connections, those of tenants among them.
        self._caps = ConnectionCaps(
            max_connections=most - most // _FREE_PART, max_unauthenticated=settings.max_unauthenticated, grace_s=0.0
        )
        self._new = NewConnections(settings.max_unauthenticated)
        self._paused: frozenset[str] = frozenset()
        self._traffic: dict[str, Traffic] = {}
        self._seen: dict[_Key, _Peer | None] = {}  # None for sockets of others
        self._looking: asyncio.Task[None] | None = None

    def start(self, port: int) -> None:
        """Watch the connections of a listening port until `stop`."""
        self._looking = asyncio.create_task(self._watch_connections(port))

    async def stop(self) -> None:
        """Stop watching."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
            self._looking = None

    def note(self, peer: str, tenant: str) -> Traffic:
        """Note that a call of a tenant came over a connection, and return the connection's traffic.

        Args:
            peer: the connection, as gRPC names it.
            tenant: the tenant whose credential the call had.
        """
        traffic = self._traffic.get(peer)
        if traffic is None:
            traffic = self._traffic[peer] = Traffic()
        traffic.tenants.add(tenant)
        return traffic

    def end(self, peer: str, tenant: str) -> bool:
        """Close a connection over which no other tenant has called; return whether it was closed.

        Args:
            peer: the connection, as gRPC names it.
            tenant: the tenant of the call for which it is closed; `NOBODY` for public methods.
        """
        traffic = self._traffic.get(peer)
        if traffic is not None and not traffic.tenants <= {tenant, NOBODY}:
            return False
        for connection in self._seen.values():
            if connection is not None and connection.name == peer:
                connection.abort()
                return True
        return False

    async def _watch_connections(self, port: int) -> None:
        loop, pause_s = asyncio.get_running_loop(), _LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            look = partial(_found, port, frozenset(self._seen))
            try:
                found = await in_thread(look, name="look at connections")
            except OSError as exc:
                _log.warning(
                    "server.grpc_connections_unknown", extra={"reason": exc.strerror, "folder": str(_DESCRIPTORS)}
                )
                return
            closed = self._update(found, loop.time())
            if closed:
                _log.info("server.grpc_connections_closed", extra={"closed": closed, "open": len(self._caps)})
            paused = self._new.paused(loop.time())
            if paused != self._paused:
                _log.info("server.grpc_addresses_paused", extra={"addresses": len(paused)})
                await in_thread(partial(_pause, port, paused), name="pause addresses")
                self._paused = paused
            pause_s = _FLOOD_LOOK_S if closed else _LOOK_S

    def _update(self, found: dict[_Key, _Address | None], now: float) -> int:
        for key in self._seen.keys() - found.keys():
            gone = self._seen.pop(key)
            if gone is not None:
                self._caps.remove(gone)
        open_before, new = len(self._caps), 0
        for key, address in found.items():
            if key in self._seen:
                continue
            if address is None:
                self._seen[key] = None
                continue
            name = _name_of(*address)
            connection = _Peer(key[0], address, name, now, self._traffic.setdefault(name, Traffic()))
            self._seen[key] = connection
            self._admit(connection, now)
            new += 1
        for name in self._traffic.keys() - {each.name for each in self._seen.values() if each is not None}:
            del self._traffic[name]
        return open_before + new - len(self._caps)

    def _has_authenticated(self, client: str) -> bool:
        # An address with an authenticated connection, such as a reverse proxy's, is never paused.
        return any(
            each.is_authenticated and client_of(each.address[0]) == client
            for each in self._seen.values()
            if each is not None
        )

    def _admit(self, connection: _Peer, now: float) -> None:
        client = client_of(connection.address[0])
        if not connection.is_authenticated and self._new.note(client, now) and not self._has_authenticated(client):
            self._new.pause(client, now)
        if connection.is_authenticated or self._caps.admit(client, now):
            self._caps.add(connection, client)
        else:
            connection.abort()


def _pause(port: int, clients: Set[str]) -> None:
    # The kernel then drops what asks for new connections, so that gRPC's core does not have to accept them.
    for descriptor in _sockets():
        listener = _duplicate(descriptor)
        if listener is not None:
            with listener, suppress(OSError):  # no socket of TCP, or a kernel without filters
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and listener.getsockname()[1] == port:
                    drop_new_connections(listener, clients)


def client_of_peer(peer: str) -> str:
    """Return what counts as one address of a connection that gRPC names."""
    scheme, _, address = unquote(peer).partition(":")
    host = address.rpartition(":")[0].strip("[]")
    return client_of(host) if scheme in {"ipv4", "ipv6"} else peer


class Traffic:
    """Track the tenants that called over one connection, and the bytes of their messages.

    Attributes:
        tenants: the tenants whose credentials calls had.
    """

    __slots__ = ("_taken", "descriptor", "tenants")

    def __init__(self) -> None:
        self.tenants: set[str] = set()
        self.descriptor: int | None = None
        self._taken = 0

    def take(self, size_bytes: int) -> None:
        """Count a message that has arrived as a whole."""
        self._taken += size_bytes + _CALL_BYTES

    def untaken(self) -> int:
        """Return an estimate of the bytes that arrived and are no message yet; 0 except on Linux."""
        if self.descriptor is None or _TCP_INFO is None:
            return 0
        connected = socket.socket(fileno=self.descriptor)
        try:
            info = connected.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _RECEIVED_AT + 8)
        except OSError:
            return 0
        finally:
            connected.detach()  # the descriptor is gRPC's
        received = int.from_bytes(info[_RECEIVED_AT:], sys.byteorder) if len(info) == _RECEIVED_AT + 8 else 0
        return received - self._taken


class _Peer:
    __slots__ = ("_descriptor", "_since", "_traffic", "address", "name")

    def __init__(self, descriptor: int, address: _Address, name: str, since: float, traffic: Traffic) -> None:
        self._descriptor = descriptor
        self._since = since
        self._traffic = traffic
        traffic.descriptor = descriptor
        self.address = address
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return bool(self._traffic.tenants)

    @property
    def idle_since(self) -> float | None:
        # Without a credential a connection counts as idle even during a call, such as a health watch.
        return None if self._traffic.tenants else self._since

    def abort(self) -> None:
        connected = _duplicate(self._descriptor)
        if connected is not None:
            with connected, suppress(OSError):
                if connected.getpeername()[:2] == self.address:  # else its descriptor is another socket's by now
                    connected.shutdown(socket.SHUT_RDWR)


def _found(port: int, known: Set[_Key]) -> dict[_Key, _Address | None]:
    # The address of a socket is that of its client, None for other sockets and for those that are known.
    found: dict[_Key, _Address | None] = {}
    for descriptor, inode in _sockets().items():
        key = descriptor, inode
        found[key] = None if key in known else _client_of(descriptor, port)
    return found


def _sockets() -> dict[int, int]:
    # Returns the inode of each descriptor of this process that is a socket.
    found = {}
    for entry in _DESCRIPTORS.iterdir():
        with suppress(OSError):  # closed meanwhile
            state = os.fstat(int(entry.name))
            if stat.S_ISSOCK(state.st_mode):
                found[int(entry.name)] = state.st_ino
    return found


def _duplicate(descriptor: int) -> socket.socket | None:
    try:
        return socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None


def _client_of(descriptor: int, port: int) -> _Address | None:
    connected = _duplicate(descriptor)
    if connected is None:
        return None
    with connected:
        if connected.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        try:
            return connected.getpeername()[:2] if connected.getsockname()[1] == port else None
        except OSError:  # it listens, or has ended
            return None


def _name_of(host: str, port: int) -> str:
    if host.startswith("::ffff:") and "." in host:
        host = host.removeprefix("::ffff:")
    return f"ipv6:%5B{host.replace('%', '%25')}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
