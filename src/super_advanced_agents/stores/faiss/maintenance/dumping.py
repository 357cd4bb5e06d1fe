"""Reading of all records of a database with their tenants, in one state, beside its writers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.rows.reader import RECORDS, as_record
from super_advanced_agents.stores.faiss.rows.schema import CLOCK_SETTING
from super_advanced_agents.stores.filters import Filter, matches
from super_advanced_agents.stores.records.record_fields import fields_of
from super_advanced_agents.types import Record

_PAGE_RECORDS = 500
_PAGE_BYTES = 8 * 1024 * 1024


class DatabaseDump:
    """Read the records of a store's database in the state that it has when this is made.

    Args:
        connection: a read-only connection, which a read transaction is begun on.

    Raises:
        StoreError: the database cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # BEGIN alone takes no snapshot
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc

    def tenants(self) -> set[str]:
        """Return the tenants that have records."""
        query = "SELECT DISTINCT tenant FROM scopes WHERE id IN (SELECT scope FROM records)"
        try:
            return {tenant or DEFAULT_TENANT for (tenant,) in self._connection.execute(query)}
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc

    def _now(self) -> float:
        # What has expired is not exported after the clock was set back.
        try:
            row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (CLOCK_SETTING,)).fetchone()
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc
        return time.time() if row is None else max(time.time(), float(row[0]))

    def pages(
        self, *, tenant: str | None = None, namespace: str | None = None, tree: Filter | None = None
    ) -> Iterator[tuple[str, list[Record]]]:
        """Yield pages of unexpired records of one tenant each, in the order they were written.

        Args:
            tenant: the tenant to read; all of them when None.
            namespace: the namespace to read; all of them when None.
            tree: a filter over metadata.

        Raises:
            CorruptStoreError: a row is damaged.
        """
        conditions, values = ["(expires_at IS NULL OR expires_at > ?)"], [self._now()]
        if tenant is not None:
            conditions.append("tenant = ?")
            values.append("" if tenant == DEFAULT_TENANT else tenant)  # type: ignore[arg-type]
        if namespace is not None:
            conditions.append("namespace = ?")
            values.append(namespace)  # type: ignore[arg-type]
        query = RECORDS.replace("SELECT uid", "SELECT tenant, uid", 1) + " AND ".join(conditions) + " ORDER BY seq"
        page: list[Record] = []
        owner, size = "", 0
        try:
            for tenant_name, *row in self._connection.execute(query, values):
                record = as_record(row)
                if tree is not None and not matches(tree, record.metadata | fields_of(record)):
                    continue
                if page and (tenant_name != owner or len(page) >= _PAGE_RECORDS or size >= _PAGE_BYTES):
                    yield owner or DEFAULT_TENANT, page
                    page, size = [], 0
                owner = tenant_name
                page.append(record)
                size += record.vector.nbytes + len(record.text or "")
        except sqlite3.Error as exc:
            raise sqlite_errors.map_error(exc) from exc
        except (TypeError, ValueError) as exc:
            raise CorruptStoreError("a record is damaged", hint="restore a backup; `saa doctor` has details") from exc
        if page:
            yield owner or DEFAULT_TENANT, page
