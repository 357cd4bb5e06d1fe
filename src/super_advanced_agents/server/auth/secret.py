"""The secret for hashing API keys, and files that only the server's OS user may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from super_advanced_agents._runtime.files import fsync_folder
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("server")
_FILE = "secret"
_SECRET_BYTES = 32
_GROUP_AND_OTHERS = 0o077


def private_folder(path: Path) -> Path:
    """Create a folder, or restrict an existing one, so that only this OS user may access it.

    Returns:
        The path, for chaining.

    Raises:
        StoreError: the folder cannot be created, or its permissions cannot be changed.
    """
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in missing:
            fsync_folder(folder.parent)  # without it, a new folder may not survive a power loss
        _restrict(path, 0o700)
    except OSError as exc:
        raise StoreError(
            f"cannot use the folder {str(path)!r}: {exc.strerror}", hint="check its permissions, or use another"
        ) from exc
    return path


def private_file(path: Path) -> Path:
    """Create an empty file, or restrict an existing one, so that only this OS user may read it.

    Returns:
        The path, for chaining.

    Raises:
        OSError: the file cannot be created, or its permissions cannot be changed.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if _restrict(path, 0o600):
        _log.warning("server.rights_taken", extra={"path": str(path)})
    return path


def _restrict(path: Path, mode: int) -> bool:
    # Returns True if the group or others had access.
    shared = bool(stat.S_IMODE(path.stat().st_mode) & _GROUP_AND_OTHERS)
    if shared:
        path.chmod(mode)
    return shared


def server_secret(folder: Path) -> bytes:
    """Return the secret that API keys are hashed with; create it if the folder has none.

    The file appears atomically; two processes that call this concurrently get the same secret.

    Args:
        folder: a folder that `private_folder` has created.

    Returns:
        32 bytes.

    Raises:
        ConfigurationError: the file does not hold 32 bytes.
        StoreError: the secret cannot be read or created.
    """
    file = folder / _FILE
    try:
        if not file.exists():
            _create(file)
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


def _create(file: Path) -> None:
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as stream:  # noqa: PTH123  # the descriptor was opened with private permissions
            stream.write(secrets.token_bytes(_SECRET_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)  # unlike a rename, it never replaces the file of another process
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(file.parent)
