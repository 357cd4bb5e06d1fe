"""The SQLite database of API keys, which stores only their hashes. Its methods are synchronous."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.disk import sqlite
from super_advanced_agents._runtime.disk.files import map_os_error, private_file, private_folder
from super_advanced_agents._runtime.disk.watched_files import DatabaseWatch
from super_advanced_agents.config import checked_name
from super_advanced_agents.errors import (
    ConfigurationError,
    InvalidInputError,
    OverloadedError,
    StoreError,
    StoreFullError,
)
from super_advanced_agents.server.auth.secret import SECRET_FILE, server_secret
from super_advanced_agents.tenancy.context import Access

KEYS_FILE = "keys.db"
KEY_PATTERN = re.compile(r"saa_([a-z2-7]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
"""The form of a key: its public id, then 256 random bits in base64url."""

KEY_COLUMNS = "id, digest, tenant, scopes, label, created_at, expires_at, revoked_at"
_ID_PATTERN = re.compile(r"[a-z2-7]{12}", re.ASCII)
_MAX_LABEL_CHARS = 200
_SCHEMA = sqlite.Schema(
    version=1,
    tables="""
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL, -- HMAC-SHA256 of the whole key under the server's secret
    tenant TEXT NOT NULL,
    scopes TEXT NOT NULL, -- separated by spaces
    label TEXT NOT NULL,
    created_at REAL NOT NULL, -- seconds since 1970, as all times here
    expires_at REAL,
    revoked_at REAL
) WITHOUT ROWID;
""",
    newer_version_error=ConfigurationError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """Describe a stored API key: its hash, tenant, scopes and times, but not the key itself.

    Attributes:
        id: the public id.
        tenant: the tenant whose data it gives access to.
        scopes: the scopes it has in that tenant.
        label: a name that its owner chose; may be empty.
        created_at: seconds since 1970.
        expires_at: seconds since 1970; None if it does not expire.
        revoked_at: seconds since 1970; None if it was not revoked.
        digest: the HMAC-SHA256 of the key.
        read_at: when the record was read, in seconds since 1970.
    """

    id: str
    tenant: str
    scopes: frozenset[Access]
    label: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    digest: bytes = field(repr=False)
    read_at: float = field(repr=False, compare=False)

    @property
    def state(self) -> str:
        """The state of the key when it was read: `"valid"`, `"expired"` or `"revoked"`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= self.read_at else "valid"


@dataclass(frozen=True, slots=True)
class NewKey:
    """Hold a newly created API key; the database stores only its hash.

    Attributes:
        key: the credential.
        id: the public id.
    """

    key: str = field(repr=False)
    id: str


class KeyTable:
    """Keep the hashes of a server's API keys in an SQLite database of its data folder.

    Several processes may use the folder at once; the threads of one process share an object.

    Args:
        folder: created with access for this user only if it does not exist.
        create: create a missing database, and take the rights of others from the files. False for a server that has
            used one: another one would hold no revocation, and a change of a file would be read as one of the keys.
        secret: the secret of a database that is created; random when None.

    Raises:
        ConfigurationError: the keys were created with another secret, which is missing, or by a newer version.
        StoreError: the files cannot be used.

    Attributes:
        secret: the secret that keys are hashed with.
        clock: the time, which does not go back behind what any process has stored.
        clock_saved_at: the time that is stored.
    """

    def __init__(self, folder: Path, *, create: bool = True, secret: bytes | None = None) -> None:
        self._file = (private_folder(folder) if create else folder) / KEYS_FILE
        has_keys = self._file.exists() and self._file.stat().st_size > 0
        if not has_keys and not create:
            raise StoreError(f"the keys at {str(self._file)!r} are missing", hint="put the file back")
        self.secret = server_secret(folder, create=not has_keys, restrict=create, secret=secret)
        self._lock = threading.Lock()
        with self._sqlite_errors():
            try:
                if create:
                    private_file(self._file)
            except OSError as exc:
                raise StoreError(
                    f"cannot use the keys at {str(self._file)!r}: {exc.strerror}", hint="check the permissions"
                ) from exc
        tag = hmac.digest(self.secret, b"the secret of these keys", "sha256")
        try:
            self._connection = sqlite.open_database(
                self._file,
                _SCHEMA,
                fill=lambda new: new.execute("INSERT INTO settings VALUES ('secret_tag', ?)", (tag,)),
                create=create,
            )
        except (StoreError, OverloadedError) as exc:
            raise self._unusable(exc.__cause__ or exc) from exc
        try:
            with self._sqlite_errors():
                self._check_secret(tag)
                self.clock_saved_at = self._read_clock()
                self.clock = ForwardClock(self.clock_saved_at)
            self._watch = DatabaseWatch(self._file, note=False)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the SQLite database of API keys."""
        with self._lock:
            self._watch.close()
            self._connection.close()

    def create(
        self, *, tenant: str, scopes: Iterable[str], label: str = "", expires_in_s: float | None = None
    ) -> NewKey:
        """Create an API key and store its hash durably; only the returned object holds the key.

        Args:
            tenant: the tenant whose data it gives access to.
            scopes: the names of its scopes, at least one.
            label: a printable name of at most 200 characters.
            expires_in_s: seconds until it expires; None if it does not.

        Raises:
            InvalidInputError: a value is wrong.
            StoreError: the key was not stored.
        """
        made = self._insert(tenant, scopes, label, expires_in_s, only_if_none=False)
        assert made is not None
        return made

    def create_first(self, *, tenant: str, scopes: Iterable[str], label: str = "") -> NewKey | None:
        """Create an API key, or return None if the database has ever held one.

        Returns:
            The key; None if there is or was one, revoked and expired keys included.

        Raises:
            InvalidInputError: a value is wrong.
            StoreError: the key was not stored.
        """
        return self._insert(tenant, scopes, label, None, only_if_none=True)

    def revoke(self, key_id: str) -> bool:
        """Revoke an API key for good, and return whether it exists. A repeated call changes nothing.

        Returns:
            True if there is a key with this id.
        """
        with self._transaction():
            changed = self._connection.execute(
                "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (self.clock.now(), key_id)
            )
            return changed.rowcount == 1

    def records(self) -> list[KeyRecord]:
        """Return the records of all keys, oldest first, including revoked and expired keys."""
        with self._lock, self._sqlite_errors():
            rows = self._connection.execute(f"SELECT {KEY_COLUMNS} FROM keys ORDER BY created_at, id").fetchall()  # noqa: S608
        return records_of(rows, self.clock.now())

    def check(self) -> None:
        """Raise if the database is damaged, as far as its structure shows.

        Raises:
            StoreError: it is.
        """
        with self._lock, self._sqlite_errors():
            [result] = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise StoreError(f"the keys at {str(self._file)!r} are damaged", hint="restore the file")

    def save_clock(self) -> None:
        """Store the highest time seen durably, so that expired keys stay expired after a restart."""
        with self._transaction():
            seen = max(self.clock.now(), self._read_clock())
            self._connection.execute("INSERT OR REPLACE INTO settings VALUES ('clock_seen', ?)", (repr(seen).encode(),))
        self.clock_saved_at = seen

    def _read_clock(self) -> float:
        row = self._connection.execute("SELECT value FROM settings WHERE name = 'clock_seen'").fetchone()
        return 0.0 if row is None else float(row[0])

    def _insert(
        self, tenant: str, scopes: Iterable[str], label: str, expires_in_s: float | None, *, only_if_none: bool
    ) -> NewKey | None:
        made, row = made_key(tenant, scopes, label, expires_in_s, secret=self.secret, now=self.clock.now())
        with self._transaction():
            if only_if_none and self._connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone():
                return None
            self._connection.execute(f"INSERT INTO keys ({KEY_COLUMNS}) VALUES (?,?,?,?,?,?,?,NULL)", row)  # noqa: S608
        return made

    def _check_secret(self, tag: bytes) -> None:
        stored = self._connection.execute("SELECT value FROM settings WHERE name = 'secret_tag'").fetchone()
        if stored is None or not hmac.compare_digest(stored[0], tag):
            raise ConfigurationError(
                f"the keys at {str(self._file)!r} were made with another secret than the one beside them",
                hint="put the file 'secret' back, or remove it together with keys.db and make new keys",
            )

    def change(self, statements: Sequence[tuple[str, Sequence[object]]]) -> None:
        """Execute statements in one transaction, with `{keys}` for the table and `?` for each value.

        Raises:
            StoreError: nothing was changed.
        """
        with self._transaction():
            for statement, values in statements:
                self._connection.execute(statement.replace("{keys}", "keys"), values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._sqlite_errors(), sqlite.transaction(self._connection, self._watch):
            yield

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc

    def _unusable(self, exc: BaseException) -> StoreError:
        where = f"the keys at {str(self._file)!r}"
        if (getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFullError(
                f"no room on the disk for {where}; nothing was stored", hint="free disk space, then try again"
            )
        return StoreError(f"{where} cannot be used: {exc}", hint="check its permissions and the disk")


def new_key() -> NewKey:
    """Make an API key, which is stored nowhere yet."""
    key_id = base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
    return NewKey(f"saa_{key_id}_{secrets.token_urlsafe(32)}", key_id)


def made_key(
    tenant: str, scopes: Iterable[str], label: str, expires_in_s: float | None, *, secret: bytes, now: float
) -> tuple[NewKey, tuple[object, ...]]:
    """Make a key, and return it with its row: `KEY_COLUMNS` without the last.

    Raises:
        InvalidInputError: a value is wrong.
    """
    accesses = checked_scopes(scopes)
    checked_name(tenant, "tenant")
    _check_label_and_expiry(label, expires_in_s)
    made = new_key()
    expires_at = None if expires_in_s is None else now + expires_in_s
    digest = digest_of(made.key, secret)
    return made, (made.id, digest, tenant, " ".join(sorted(accesses)), label, now, expires_at)


def records_of(rows: Iterable[Sequence[Any]], now: float) -> list[KeyRecord]:
    """Return the records of rows of `KEY_COLUMNS`, which were read now."""
    known_scopes = {scope.value for scope in Access}
    return [
        KeyRecord(
            id=row[0],
            digest=row[1],
            tenant=row[2],
            scopes=frozenset(Access(scope) for scope in row[3].split() if scope in known_scopes),
            label=row[4],
            created_at=row[5],
            expires_at=row[6],
            revoked_at=row[7],
            read_at=now,
        )
        for row in rows
    ]


def digest_of(key: str, secret: bytes) -> bytes:
    """Return the HMAC-SHA256 of an API key under the server's secret."""
    return hmac.digest(secret, key.encode(), "sha256")


def signature_of(folder: Path) -> tuple[object, ...]:
    """Return the inodes, sizes and times of change of the files of API keys.

    The value costs three `stat` calls. It changes with each commit, and when a file is replaced, cut or overwritten.

    Raises:
        StoreError: a file cannot be reached.
    """
    return tuple(_signature(folder / name) for name in (KEYS_FILE, f"{KEYS_FILE}-wal", SECRET_FILE))


def _signature(file: Path) -> tuple[int, ...] | None:
    try:
        now = file.stat()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise map_os_error(exc, file) from exc
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def checked_scopes(scopes: Iterable[str]) -> frozenset[Access]:
    """Convert names of API key scopes to `Access` values; refuse unknown names and no names.

    Raises:
        InvalidInputError: a name is not a scope, or there is no name.
    """
    valid_names = ", ".join(scope.value for scope in Access)
    names = list(scopes)
    if not names:
        raise InvalidInputError("a key needs at least one scope", field="scope", hint=f"scopes are {valid_names}")
    for scope in names:
        if scope not in set(Access):
            raise InvalidInputError(f"{scope!r} is not a scope", field="scope", hint=f"scopes are {valid_names}")
    return frozenset(Access(scope) for scope in names)


def checked_key_id(id_or_key: str) -> str:
    """Return the public id of an API key, given this id or the key itself.

    Raises:
        InvalidInputError: it is neither; the message does not repeat it, because it may be most of a key.
    """
    key = KEY_PATTERN.fullmatch(id_or_key)
    if key is not None:
        return key[1]
    if _ID_PATTERN.fullmatch(id_or_key) is None:
        raise InvalidInputError("that is not the id of a key", field="id", hint="`saa keys list` shows the ids")
    return id_or_key


def _check_label_and_expiry(label: str, expires_in_s: float | None) -> None:
    if len(label) > _MAX_LABEL_CHARS or not label.isprintable():
        raise InvalidInputError(
            f"the label is longer than {_MAX_LABEL_CHARS} characters, or not printable", field="label"
        )
    if expires_in_s is not None and not 0 < expires_in_s < 1e10:
        raise InvalidInputError("a key must expire later than now, or never", field="expires_in_s")
