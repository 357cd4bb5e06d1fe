"""Secret settings from files that `SAA_..._FILE` names, and from credentials of systemd."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from super_advanced_agents.errors import ConfigurationError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""The variable in which systemd names the folder of a service's credentials."""

_MAX_BYTES = 64 * 1024


def secrets_from_files(names: Iterable[str], *, prefix: str) -> dict[str, str]:
    """Return the settings that files hold: containers and services get secrets so.

    A setting `x` comes from the file that `SAA_X_FILE` names, else from a credential of systemd called `saa_x`. A
    variable `SAA_X` of its own goes before a credential. Blocks while it reads.

    Args:
        names: the settings that are secrets.
        prefix: what the variables begin with.

    Raises:
        ConfigurationError: a file cannot be read, is empty or too long, or a variable gives the same secret.
    """
    credentials = os.environ.get(CREDENTIALS_VARIABLE)
    found: dict[str, str] = {}
    for name in names:
        variable = f"{prefix}{name.upper()}"
        file = os.environ.get(f"{variable}_FILE")
        if file:
            if os.environ.get(variable):
                raise ConfigurationError(
                    f"{variable} and {variable}_FILE are both set", hint="leave one out, best the one with the value"
                )
            found[name] = _read(Path(file), f"{variable}_FILE")
        elif credentials and not os.environ.get(variable):
            credential = Path(credentials) / f"{prefix}{name}".lower()
            if credential.exists():
                found[name] = _read(credential, f"the credential {credential.name}")
    return found


def _read(file: Path, source: str) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        secret = content.decode().strip()
    except OSError as exc:
        raise ConfigurationError(
            f"the secret of {source} cannot be read: {exc.strerror}", hint="check that the file exists and its owner"
        ) from exc
    except UnicodeDecodeError:
        raise ConfigurationError(f"the secret of {source} is not text", hint="check the file") from None
    if not secret or len(content) > _MAX_BYTES:
        raise ConfigurationError(f"the secret of {source} is empty or longer than 64 KiB", hint="check the file")
    return secret
