"""API keys as they lie on disk: hashes, never keys. Blocking; `keys.KeyRing` is what a server asks."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.config import checked_name
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, StoreError, StoreFullError
from super_advanced_agents.server.auth.secret import private_file, private_folder, server_secret
from super_advanced_agents.tenancy.context import Access

KEYS_FILE = "keys.db"
KEY = re.compile(r"saa_([a-z2-7]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
"""A key: its public id, then 256 random bits."""

_ID = re.compile(r"[a-z2-7]{12}", re.ASCII)
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
    newer=ConfigurationError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is known of a key; the key itself is not.

    Attributes:
        id: its public name.
        tenant: whose data it opens.
        scopes: what it may do there.
        label: what its owner calls it; may be empty.
        created_at: seconds since 1970.
        expires_at: likewise; None when it does not expire.
        revoked_at: likewise; None when it was not revoked.
        digest: its HMAC-SHA256.
    """

    id: str
    tenant: str
    scopes: frozenset[Access]
    label: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    digest: bytes = field(repr=False)

    @property
    def state(self) -> str:
        """`"valid"`, `"expired"` or `"revoked"`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= time.time() else "valid"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as its owner gets it, this once.

    Attributes:
        key: the credential.
        id: its public name.
    """

    key: str = field(repr=False)
    id: str


class KeyTable:
    """The keys of one data folder. Several processes may work on it at once; threads of one share an object.

    Args:
        folder: made, and closed to other users, when it is not there.

    Raises:
        ConfigurationError: the keys were made with another secret, or by a newer version.
        StoreError: the files cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._file = private_folder(folder) / KEYS_FILE
        self.secret = server_secret(folder)
        self._using = threading.Lock()
        with self._translated():
            try:
                private_file(self._file)
            except OSError as exc:
                raise StoreError(
                    f"cannot use the keys at {str(self._file)!r}: {exc.strerror}", hint="check the permissions"
                ) from exc
        tag = hmac.digest(self.secret, b"the secret of these keys", "sha256")
        try:
            self._connection = sqlite.opened(
                self._file,
                _SCHEMA,
                fill=lambda new: new.execute("INSERT INTO settings VALUES ('secret_tag', ?)", (tag,)),
            )
        except StoreError as exc:
            raise self._unusable(exc.__cause__ or exc) from exc
        try:
            with self._translated():
                self._check_secret(tag)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._using:
            self._connection.close()

    def create(
        self, *, tenant: str, scopes: Iterable[str], label: str = "", expires_in_s: float | None = None
    ) -> NewKey:
        """Make a key; it is durable when this returns, and nobody can read it again.

        Raises:
            InvalidInputError: a value is wrong.
            StoreError: it was not stored.
        """
        made = self._insert(tenant, scopes, label, expires_in_s, only_as_the_first=False)
        assert made is not None
        return made

    def create_first(self, *, tenant: str, scopes: Iterable[str], label: str = "") -> NewKey | None:
        """`create` unless there was ever a key; then None."""
        return self._insert(tenant, scopes, label, None, only_as_the_first=True)

    def revoke(self, key_id: str) -> bool:
        """Make a key worthless for good; whether there is one of that id. Revoking twice changes nothing."""
        with self._transaction():
            changed = self._connection.execute(
                "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (time.time(), key_id)
            )
            return changed.rowcount == 1

    def records(self) -> list[KeyRecord]:
        """All keys, oldest first; revoked and expired ones too."""
        with self._using, self._translated():
            rows = self._connection.execute(
                "SELECT id, digest, tenant, scopes, label, created_at, expires_at, revoked_at FROM keys"
                " ORDER BY created_at, id"
            ).fetchall()
        known = {each.value for each in Access}
        return [
            KeyRecord(
                id=row[0],
                digest=row[1],
                tenant=row[2],
                scopes=frozenset(Access(scope) for scope in row[3].split() if scope in known),
                label=row[4],
                created_at=row[5],
                expires_at=row[6],
                revoked_at=row[7],
            )
            for row in rows
        ]

    def version(self) -> int:
        """Changes when another connection, also one of another process, has written."""
        with self._using, self._translated():
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        assert isinstance(version, int)
        return version

    def digest_of(self, key: str) -> bytes:
        """What is stored of a key."""
        return hmac.digest(self.secret, key.encode(), "sha256")

    def _insert(
        self, tenant: str, scopes: Iterable[str], label: str, expires_in_s: float | None, *, only_as_the_first: bool
    ) -> NewKey | None:
        wanted = checked_scopes(scopes)
        checked_name(tenant, "tenant")
        _check(label, expires_in_s)
        key_id = base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
        made = NewKey(f"saa_{key_id}_{secrets.token_urlsafe(32)}", key_id)
        now = time.time()
        with self._transaction():
            if only_as_the_first and self._connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone():
                return None
            self._connection.execute(
                "INSERT INTO keys (id, digest, tenant, scopes, label, created_at, expires_at) VALUES (?,?,?,?,?,?,?)",
                (
                    key_id,
                    self.digest_of(made.key),
                    tenant,
                    " ".join(sorted(wanted)),
                    label,
                    now,
                    None if expires_in_s is None else now + expires_in_s,
                ),
            )
        return made

    def _check_secret(self, tag: bytes) -> None:
        kept = self._connection.execute("SELECT value FROM settings WHERE name = 'secret_tag'").fetchone()
        if kept is None or not hmac.compare_digest(kept[0], tag):
            raise ConfigurationError(
                f"the keys at {str(self._file)!r} were made with another secret than the one beside them",
                hint="put the file 'secret' back, or remove it together with keys.db and make new keys",
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._using, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._unusable(exc) from exc

    def _unusable(self, exc: BaseException) -> StoreError:
        where = f"the keys at {str(self._file)!r}"
        if (getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFullError(f"no room on the disk for {where}; nothing was stored", hint="free some")
        return StoreError(f"{where} cannot be used: {exc}", hint="check its permissions and the disk")


def checked_scopes(scopes: Iterable[str]) -> frozenset[Access]:
    """The scopes of those names; at least one.

    Raises:
        InvalidInputError: one is not a scope, or there is none.
    """
    names = ", ".join(each.value for each in Access)
    given = list(scopes)
    if not given:
        raise InvalidInputError("a key without a scope would open nothing", field="scope", hint=f"scopes are {names}")
    for scope in given:
        if scope not in set(Access):
            raise InvalidInputError(f"{scope!r} is not a scope", field="scope", hint=f"scopes are {names}")
    return frozenset(Access(scope) for scope in given)


def checked_key_id(named: str) -> str:
    """The id of a key that was named by its id, or by itself.

    Raises:
        InvalidInputError: it is neither; the message does not repeat it, since it may be most of a key.
    """
    whole = KEY.fullmatch(named)
    if whole is not None:
        return whole[1]
    if _ID.fullmatch(named) is None:
        raise InvalidInputError("that is not the id of a key", field="id", hint="`saa keys list` shows the ids")
    return named


def _check(label: str, expires_in_s: float | None) -> None:
    if len(label) > _MAX_LABEL_CHARS or not label.isprintable():
        raise InvalidInputError(
            f"the label is longer than {_MAX_LABEL_CHARS} characters, or not printable", field="label"
        )
    if expires_in_s is not None and not 0 < expires_in_s < 1e10:
        raise InvalidInputError("a key must expire later than now, or never", field="expires_in_s")
