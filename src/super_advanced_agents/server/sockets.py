"""Take the addresses that a server listens on, before anything slow happens."""

from __future__ import annotations

import errno
import socket

from super_advanced_agents.errors import ConfigurationError


def bound(host: str, port: int, option: str) -> socket.socket:
    """Take an address before anything slow happens, so that one in use is told at once.

    Raises:
        ConfigurationError: it cannot be had; the hint names `option`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)  # early callers wait in line; another server on this port would fail only here
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
    """Return the error for a port that another program listens on."""
    return ConfigurationError(
        f"another program listens on {host}:{port}", hint=f"stop it, or choose another port with {option}"
    )


def address_of(listener: socket.socket) -> str:
    """`host:port` as URLs write it."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"
