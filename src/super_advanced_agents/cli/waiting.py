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
_PAUSE_S, _SERVER_PAUSE_S = 0.05, 0.5


def when_free(data_dir: Path, open_: Callable[[], OpenedT]) -> OpenedT:
    """Open a data folder once it is free: wait up to 10 s for another command that uses it.

    A server is not waited for; the error names its address.

    Args:
        data_dir: the data folder.
        open_: opens it, or a part of it.

    Raises:
        StoreLockedError: the folder is still in use.
    """
    from super_advanced_agents.errors import StoreLockedError
    from super_advanced_agents.tenancy.data_folder.server_address import naming_server

    wait = _Wait()
    while True:
        try:
            return open_()
        except StoreLockedError as exc:
            error = naming_server(exc, data_dir)
            if error is not exc:
                raise error from exc
            if not wait.pause(f"Waiting up to {_WAIT_S:.0f} s: {exc.message}.", _PAUSE_S):
                raise


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
    wait, note = _Wait(), f"Waiting up to {_WAIT_S:.0f} s for the server {address.url!r}."
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_WAIT_S).close()
            return
        except OSError as exc:
            if isinstance(exc, socket.gaierror) or not wait.pause(note, _SERVER_PAUSE_S):
                raise EngineUnavailableError(
                    f"the server {address.url!r} cannot be reached ({exc.strerror or type(exc).__name__})",
                    hint="check that it runs, and the address",
                ) from exc


class _Wait:
    # A wait of up to 10 s, which prints a note if it lasts.

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._noted = False

    def pause(self, note: str, pause_s: float) -> bool:
        """Pause and return True, or return False at once after 10 s."""
        waited_s = time.monotonic() - self._begun
        if waited_s >= _WAIT_S:
            return False
        if waited_s >= _NOTE_S and not self._noted:
            self._noted = True
            print_note(note)
        time.sleep(pause_s)
        return True
