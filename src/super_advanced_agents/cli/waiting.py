"""Waiting for a data folder that another process uses."""

from __future__ import annotations

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
