"""Waiting for a data folder that another process uses, and for a server that starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from super_advanced_agents.cli.output import print_note

OpenedT = TypeVar("OpenedT")

_WAIT_S = 10.0
_NOTE_S = 1.0
_PAUSE_S = 0.05


def in_turn(data_dir: Path, open_: Callable[[], OpenedT]) -> OpenedT:
    """Open a data folder, and wait up to 10 s for another command that uses it.

    A server is not waited for; the error names its address.

    Args:
        data_dir: the data folder.
        open_: opens it, or a part of it.

    Raises:
        StoreLockedError: the folder is still in use.
    """
    from super_advanced_agents.errors import StoreLockedError
    from super_advanced_agents.tenancy.data_folder.server_address import naming_server

    begun, noted = time.monotonic(), False
    while True:
        try:
            return open_()
        except StoreLockedError as exc:
            error = naming_server(exc, data_dir)
            waited_s = time.monotonic() - begun
            if error is not exc:
                raise error from exc
            if waited_s >= _WAIT_S:
                raise
            if waited_s >= _NOTE_S and not noted:
                noted = True
                print_note(f"Waiting up to {_WAIT_S:.0f} s: {exc.message}.")
        time.sleep(_PAUSE_S)


def wait_for_server(url: str) -> None:
    """Return once a server accepts connections, and wait up to 10 s for one that starts.

    A client would try for a minute, which is long for a mistyped address.

    Args:
        url: the server's URL, of REST or gRPC.

    Raises:
        ConfigurationError: the URL is malformed.
        EngineUnavailableError: no server accepts connections.
    """
    from super_advanced_agents.client.transports.address import Address
    from super_advanced_agents.errors import EngineUnavailableError

    address = Address.parsed(url)
    host, _, port = address.target.rpartition(":")
    begun, noted = time.monotonic(), False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_WAIT_S).close()
            return
        except OSError as exc:
            waited_s = time.monotonic() - begun
            if waited_s >= _WAIT_S or isinstance(exc, socket.gaierror):
                raise EngineUnavailableError(
                    f"the server {address.url!r} cannot be reached ({exc.strerror or type(exc).__name__})",
                    hint="check that it runs, and the address",
                ) from exc
        if waited_s >= _NOTE_S and not noted:
            noted = True
            print_note(f"Waiting up to {_WAIT_S:.0f} s for the server {address.url!r}.")
        time.sleep(10 * _PAUSE_S)
