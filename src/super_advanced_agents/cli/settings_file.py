"""The settings file of a user, which `saa setup` writes and all commands follow.

Each line is `SAA_NAME=value`. A variable of the environment and an option of a command go before the file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.data_folder.place import LOCAL_FOLDER

_PREFIX = "SAA_"
_VARIABLE = "SAA_SETTINGS"
_MAX_FILE_BYTES = 64 * 1024
_HEAD = "# Settings of all `saa` commands, written by `saa setup`; variables of the environment go before them.\n"


def settings_path() -> Path:
    """Return the path of the settings file, which may not exist.

    It is `$SAA_SETTINGS`, or `settings.env` in the folder `super-advanced-agents` of `$XDG_CONFIG_HOME`, or of
    `~/.config` when that is unset (XDG Base Directory Specification).

    Raises:
        ConfigurationError: the user has no home folder.
    """
    if named := os.environ.get(_VARIABLE):
        return Path(named).expanduser()
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path("~/.config").expanduser()
        except RuntimeError as exc:
            raise ConfigurationError("this user has no home folder", hint=f"set HOME or {_VARIABLE}") from exc
    return base / "super-advanced-agents" / "settings.env"


def apply_settings_file() -> None:
    """Set the variables of the settings file that the environment does not have.

    Its data folder does not count where the current folder has a `saa-data`.

    Raises:
        ConfigurationError: the file cannot be read, or a line of it is none.
    """
    try:
        path = settings_path()
    except ConfigurationError:
        return  # without a home folder there is no file
    variables = read_settings(path)
    if LOCAL_FOLDER.is_dir():
        variables.pop("SAA_DATA_DIR", None)
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def read_settings(path: Path) -> dict[str, str]:
    """Read a settings file, and return its variables; a missing file has none.

    Raises:
        ConfigurationError: the file cannot be read, or a line of it is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        lines = content.decode().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(
            f"the settings file {str(path)!r} cannot be read", hint="correct or remove it, then: saa setup"
        ) from exc
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"the settings file {str(path)!r} is too long", hint=f"check {_VARIABLE}")
    variables = {}
    for number, line in enumerate(lines, start=1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not name.startswith(_PREFIX):
            raise ConfigurationError(
                f"line {number} of the settings file {str(path)!r} is no SAA_NAME=value",
                hint="correct or remove the line, or the file, then: saa setup",
            )
        variables[name] = value
    return variables


def write_settings(path: Path, variables: Mapping[str, str]) -> None:
    """Replace a settings file atomically by one that only its user can read.

    Raises:
        ConfigurationError: a value has several lines, or the file cannot be written.
    """
    for name, value in variables.items():
        if not value.isprintable():
            raise ConfigurationError(
                f"{name} has characters that a line cannot hold", hint="remove its line ends and control characters"
            )
    text = _HEAD + "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigurationError(
            f"the settings file {str(path)!r} cannot be written: {exc.strerror}",
            hint=f"set {_VARIABLE} to another path",
        ) from exc
