"""The server's own secret, and the folder that only its user may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("server")
_FILE = "secret"
_SECRET_BYTES = 32
_OTHERS = 0o077


def private_folder(path: Path) -> Path:
    """Make a folder that only this user may enter, or take the rights of others away from one that is there.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in made:
            fsync_folder(folder.parent)  # a new folder survives a power loss only then
        _keep_private(path, 0o700)
    except OSError as exc:
        raise StoreError(
            f"cannot use the folder {str(path)!r}: {exc.strerror}", hint="check its permissions, or use another"
        ) from exc
    return path


def private_file(path: Path) -> Path:
    """Make an empty file that only this user may read, unless it is there; then see to its rights."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if _keep_private(path, 0o600):
        _log.warning("server.rights_taken", extra={"path": str(path)})
    return path


def _keep_private(path: Path, mode: int) -> bool:
    """Take the rights of others away; whether they had any."""
    theirs = bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)
    if theirs:
        path.chmod(mode)
    return theirs


def server_secret(folder: Path) -> bytes:
    """The secret that API keys are hashed with; made at the first call, whole or not at all.

    Args:
        folder: from `private_folder`. Two processes that ask at once get the same secret.

    Returns:
        32 bytes.

    Raises:
        ConfigurationError: the file holds something else.
        StoreError: it cannot be read or made.
    """
    file = folder / _FILE
    try:
        if not file.exists():
            _make(file)
        private_file(file)
        secret = file.read_bytes()
    except OSError as exc:
        raise StoreError(
            f"cannot use the secret at {str(file)!r}: {exc.strerror}", hint="check its permissions and the disk"
        ) from exc
    if len(secret) != _SECRET_BYTES:
        raise ConfigurationError(
            f"the secret at {str(file)!r} is damaged: it has {len(secret)} bytes, not {_SECRET_BYTES}",
            hint="put the file back, or remove it together with keys.db and make new keys",
        )
    return secret


def _make(file: Path) -> None:
    fresh = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as written:  # noqa: PTH123  # the descriptor was opened with its rights
            written.write(secrets.token_bytes(_SECRET_BYTES))
            written.flush()
            os.fsync(written.fileno())
        try:
            os.link(fresh, file)  # unlike a rename, never in the place of one that another process has just made
        except FileExistsError:
            return
    finally:
        fresh.unlink(missing_ok=True)
    fsync_folder(file.parent)
