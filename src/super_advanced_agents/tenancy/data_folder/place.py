"""The default data folder, `./saa-data` or a folder of the user's, and the user's cache."""

from __future__ import annotations

from pathlib import Path

from super_advanced_agents.errors import ConfigurationError

LOCAL_FOLDER = Path("saa-data")
_APPLICATION = "super-advanced-agents"


def default_data_dir() -> Path:
    """Return `saa-data` if the current folder has it, else the user's data folder.

    The user's folder follows the platform's convention, such as `~/.local/share/super-advanced-agents`. It is not
    created.

    Raises:
        ConfigurationError: the user has no home folder.
    """
    if LOCAL_FOLDER.is_dir():
        return LOCAL_FOLDER
    from platformdirs import user_data_path

    folder = user_data_path(_APPLICATION, appauthor=False)
    if not folder.is_absolute():  # `~` stays as it is where there is no home folder
        raise ConfigurationError(
            "this user has no home folder for the memories", hint="set HOME or SAA_DATA_DIR, or give --data-dir"
        )
    return folder


def user_cache_dir() -> Path | None:
    """Return the user's cache folder, which is not created; None without a home folder."""
    from platformdirs import user_cache_path

    folder = user_cache_path(_APPLICATION, appauthor=False)
    return folder if folder.is_absolute() else None
