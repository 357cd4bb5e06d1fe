"""The address of the server that uses a data folder, noted in it for other commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from super_advanced_agents._runtime.disk.files import open_private
from super_advanced_agents.config import SERVER_FOLDER
from super_advanced_agents.errors import StoreLockedError

_FILE = Path(SERVER_FOLDER) / "address.json"
_MAX_BYTES = 4_096


@contextmanager
def noted_address(data_dir: Path, url: str) -> Iterator[None]:
    """Note the URL of this process's server in its data folder while the context lasts.

    A note that cannot be written or removed is left out: it only makes messages of other processes more helpful.
    """
    file = data_dir / _FILE
    with suppress(OSError):
        note = open_private(file, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(note, json.dumps({"url": url, "pid": os.getpid()}).encode())
        finally:
            os.close(note)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def naming_server(error: StoreLockedError, data_dir: Path) -> StoreLockedError:
    """Return the error of a folder in use, with the address of the server that uses it, if any.

    Args:
        error: the error that was raised when the folder was opened.
        data_dir: the data folder.
    """
    server = _running_server(data_dir)
    if server is None:
        return error
    url, pid = server
    return StoreLockedError(
        f"the data folder {str(data_dir)!r} is in use by the server at {url} (process {pid})",
        hint=f"let that server do it: set SAA_API_KEY to a key of it, and add --url {url}",
    )


def _running_server(data_dir: Path) -> tuple[str, int] | None:
    try:
        with (data_dir / _FILE).open("rb") as file:
            note = json.loads(file.read(_MAX_BYTES))
        url, pid = note["url"], note["pid"]
        if not isinstance(url, str) or not url.isprintable() or not isinstance(pid, int) or pid <= 0:
            return None
        os.kill(pid, 0)  # sends nothing: a note of a killed server stays behind
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    return url, pid
