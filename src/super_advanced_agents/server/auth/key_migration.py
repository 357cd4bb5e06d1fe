"""Migration of API keys to the table of another service, as hashes with their secret."""

from __future__ import annotations

import hmac
from contextlib import ExitStack

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.config import SERVER_FOLDER
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.key_source import FolderKeys, Keys, KeySource
from super_advanced_agents.server.auth.key_store import KEY_COLUMNS, KEYS_FILE, KeyRecord
from super_advanced_agents.server.auth.postgres_keys import PostgresKeys
from super_advanced_agents.stores.local.maintenance import has_store
from super_advanced_agents.stores.opening import folder_of
from super_advanced_agents.tenancy.shared_state import SharedState, is_shared

_PUT = (
    f"INSERT INTO {{keys}} AS known ({KEY_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"  # noqa: S608  # of constants
    " ON CONFLICT (id) DO UPDATE SET scopes = excluded.scopes, label = excluded.label,"
    " expires_at = excluded.expires_at, revoked_at = coalesce(known.revoked_at, excluded.revoked_at)"
)


class KeyMigration(Resource):
    """Move the API keys that the servers of one store know to those of another.

    Keys are stored as hashes, so that callers go on with the keys that they have. Repeating it takes over new keys and
    revocations. A key that was revoked at the target stays so. All methods block.

    Args:
        source: the URL of the store that the keys are of.
        target: the URL of the other store.
        source_state: the PostgreSQL database of the source's keys, where the store does not hold them.
        target_state: that of the target.
    """

    def __init__(self, source: str, target: str, *, source_state: str | None, target_state: str | None) -> None:
        super().__init__()
        self._ends = (source, source_state), (target, target_state)
        self._stack = ExitStack()
        self._tables: tuple[Keys, Keys] | None = None

    def open(self) -> None:
        """Open both tables, if the source has keys and both ends have a place for them.

        Raises:
            ConfigurationError: the target has keys already, which were made with another secret.
            StoreError: a table cannot be used.
        """
        source, target = (self._place(url, state) for url, state in self._ends)
        if source is None or target is None:
            return
        known = source.open_table(create=not isinstance(source, FolderKeys))
        self._stack.callback(known.close)
        if not known.records():
            return
        other = target.open_table(create=True, secret=known.secret)
        self._stack.callback(other.close)
        if not hmac.compare_digest(other.secret, known.secret):
            raise ConfigurationError(
                "the target has API keys of its own, with which those of the source cannot be stored",
                hint="move into a place without keys, or leave the keys with --no-keys",
            )
        self._tables = known, other

    def move(self) -> int:
        """Store the keys of the source at the target; return the number of valid ones."""
        if self._tables is None:
            return 0
        source, target = self._tables
        records = source.records()
        target.change([(_PUT, _row(record)) for record in records])
        return sum(record.state == "valid" for record in records)

    def _place(self, url: str, state_url: str | None) -> KeySource | None:
        if state_url is not None or is_shared(url):
            return PostgresKeys(self._stack.enter_context(SharedState(state_url or url)))
        folder = folder_of(url) if ":" in url else None
        if folder is None or has_store(folder):  # an engine, or a store without a data folder
            return None
        keys, is_source = folder / SERVER_FOLDER, url == self._ends[0][0]
        return None if is_source and not (keys / KEYS_FILE).exists() else FolderKeys(keys)

    def _release(self) -> None:
        self._stack.close()


def _row(record: KeyRecord) -> tuple[object, ...]:
    scopes = " ".join(sorted(record.scopes))
    times = record.created_at, record.expires_at, record.revoked_at
    return record.id, record.digest, record.tenant, scopes, record.label, *times
