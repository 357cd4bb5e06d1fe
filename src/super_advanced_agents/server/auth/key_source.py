"""The place of API keys: a data folder, or the database that servers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents.server.auth.key_store import KEYS_FILE, KeyRecord, KeyTable, NewKey, signature_of
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.shared_state import SharedState, shared_state, state_url


class Keys(Protocol):
    """Define the table of API keys; `KeyTable` and `PostgresKeyTable` describe the methods."""

    secret: bytes
    clock: ForwardClock
    clock_saved_at: float

    def create(
        self, *, tenant: str, scopes: Iterable[str], label: str = "", expires_in_s: float | None = None
    ) -> NewKey:
        """Create an API key and store its hash durably."""

    def create_first(self, *, tenant: str, scopes: Iterable[str], label: str = "") -> NewKey | None:
        """Create an API key, or return None if there has ever been one."""

    def revoke(self, key_id: str) -> bool:
        """Revoke an API key for good, and return whether it exists."""

    def records(self) -> list[KeyRecord]:
        """Return the records of all keys, oldest first."""

    def check(self) -> None:
        """Raise if the keys are damaged."""

    def change(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Execute statements in one transaction, with `{keys}` for the table and `?` for each value."""

    def save_clock(self) -> None:
        """Store the highest time seen durably."""

    def close(self) -> None:
        """Close the table."""


class KeySource(Protocol):
    """Open the keys of a server, and tell whether they have changed."""

    def open_table(self, *, create: bool, secret: bytes | None = None) -> Keys:
        """Return the table of keys; create it if it is missing and `create` is True.

        A table that has had no keys yet hashes them with `secret`, if it is given.
        """

    def signature(self) -> tuple[object, ...]:
        """Return a value that changes with each change of the keys, at little cost."""


class FolderKeys:
    """Open the keys in a folder, and tell whether its files have changed.

    Args:
        folder: the folder of the key database.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open_table(self, *, create: bool, secret: bytes | None = None) -> KeyTable:
        """Return the table of keys; create it if it is missing and `create` is True."""
        return KeyTable(self._folder, create=create, secret=secret)

    def signature(self) -> tuple[object, ...]:
        """Return the inodes, sizes and times of change of the files."""
        return signature_of(self._folder)


def keys_of(settings: Settings, state: SharedState | None) -> KeySource:
    """Return where the settings keep API keys.

    Args:
        settings: they name the data folder.
        state: the database that servers share; None where there is one server.
    """
    if state is None:
        return FolderKeys(settings.server_dir)
    from super_advanced_agents.server.auth.postgres_keys import PostgresKeys

    return PostgresKeys(state)


@contextmanager
def open_keys(settings: Settings) -> Iterator[Keys]:
    """Enter a context that yields the table of keys, created if it is missing. Blocks."""
    with ExitStack() as stack:
        state = shared_state(settings)
        if state is not None:
            stack.enter_context(state)
        table = keys_of(settings, state).open_table(create=True)
        stack.callback(table.close)
        yield table


def are_stored(settings: Settings) -> bool:
    """Return whether a table of keys is there, or may be: in a database only opening it tells."""
    return state_url(settings) is not None or (settings.server_dir / KEYS_FILE).exists()


def has_keys(settings: Settings) -> bool:
    """Return whether there is a valid API key. Blocks."""
    if not are_stored(settings):
        return False
    with open_keys(settings) as table:
        return any(record.state == "valid" for record in table.records())
