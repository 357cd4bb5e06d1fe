"""The secret that API keys are hashed with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from super_advanced_agents._runtime.disk.files import fsync_folder, open_private, private_file
from super_advanced_agents.errors import ConfigurationError, StoreError

SECRET_FILE = "secret"  # noqa: S105  # a name
_SECRET_BYTES = 32


def server_secret(folder: Path, *, create: bool = True, restrict: bool = True, secret: bytes | None = None) -> bytes:
    """Return the secret that API keys are hashed with; create it if the folder has none.

    The file appears atomically; two processes that call this concurrently get the same secret.

    Args:
        folder: a folder that `private_folder` has created.
        create: create a missing secret. False when there are keys already, which a new secret would make worthless.
        restrict: take the rights of others from the file. False for a reading, which changes nothing.
        secret: the content of a file that is created; random when None.

    Returns:
        32 bytes.

    Raises:
        ConfigurationError: the file does not hold 32 bytes, or is missing and must not be created.
        StoreError: the secret cannot be read or created.
    """
    file = folder / SECRET_FILE
    try:
        if not file.exists():
            if not create:
                raise ConfigurationError(
                    f"the secret at {str(file)!r}, with which the keys were made, is missing",
                    hint="put the file back, or remove keys.db as well and make new keys",
                )
            _create(file, secret or secrets.token_bytes(_SECRET_BYTES))
        if restrict:
            private_file(file)
        stored = file.read_bytes()
    except OSError as exc:
        raise StoreError(
            f"cannot use the secret at {str(file)!r}: {exc.strerror}", hint="check its permissions and the disk"
        ) from exc
    if len(stored) != _SECRET_BYTES:
        raise ConfigurationError(
            f"the secret at {str(file)!r} is damaged: it has {len(stored)} bytes, not {_SECRET_BYTES}",
            hint="put the file back, or remove it together with keys.db and make new keys",
        )
    return stored


def _create(file: Path, secret: bytes) -> None:
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    fd = open_private(temporary, os.O_WRONLY | os.O_EXCL)
    try:
        with open(fd, "wb") as stream:  # noqa: PTH123  # the descriptor was opened with private permissions
            stream.write(secret)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)  # unlike a rename, it never replaces the file of another process
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(file.parent)
