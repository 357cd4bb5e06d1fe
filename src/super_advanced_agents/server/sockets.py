"""Listening sockets, bound early so that a port in use is reported at once."""

from __future__ import annotations

import errno
import socket

from super_advanced_agents.errors import ConfigurationError


def bind_listener(host: str, port: int, option: str, *, shared: bool = False, listens: bool = True) -> socket.socket:
    """Bind an address and return a listening socket, which accepts no connections yet.

    Args:
        host: an IPv4 or IPv6 address, or a name.
        port: the port; 0 lets the operating system choose one.
        option: the command-line option that sets the port, for the error's hint.
        shared: let other processes of this user, which share it too, listen at the same address.
        listens: False to hold the address only.

    Returns:
        A non-blocking socket with a backlog of 1,024 connections.

    Raises:
        ConfigurationError: the address is in use or cannot be bound; the hint names `option`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        if listens:
            listener.listen(1024)  # early clients wait in the backlog; a port that is in use may fail only here
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise port_in_use(host, port, option) from exc
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {exc.strerror}", hint=f"choose another {option}"
        ) from exc
    return listener


def port_in_use(host: str, port: int, option: str) -> ConfigurationError:
    """Return the error for a port on which another program listens."""
    return ConfigurationError(
        f"another program listens on {host}:{port}", hint=f"stop it, or choose another port with {option}"
    )


def address_of(listener: socket.socket) -> str:
    """Return a socket's bound address as `host:port`, with brackets around an IPv6 address."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"
