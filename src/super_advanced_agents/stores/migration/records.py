"""The records of a store with their tenants: in a folder that others use, or in an engine."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents.config import DEFAULT_TENANT, STORE_DATABASE
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, StoreError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss.maintenance.inspection import open_read_only, settings_of
from super_advanced_agents.stores.faiss.rows.reader import RECORDS, as_record
from super_advanced_agents.stores.migration.checksums import Checksum, add_to_checksums
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import Record

PAGE_RECORDS = 4_000
PAGE_BYTES = 16 * 1024 * 1024
_SCAN_RECORDS = 1_000
_NAMESPACES = 10_000_000
_LIVE = "(expires_at IS NULL OR expires_at > ?)"

Mark = list[Any]
"""A position in a store, up to which its records were copied, as JSON; empty at first."""


class Page(NamedTuple):
    """Hold records by tenant, and the position behind them."""

    by_tenant: list[tuple[str, list[Record]]]
    mark: Mark


class Records(Protocol):
    """Read all records of a store, of all tenants.

    Attributes:
        dim: the length of the vectors.
        metric: `"cosine"` or `"dot"`.
    """

    dim: int
    metric: str

    def pages(self, mark: Mark) -> AsyncGenerator[Page, None]:
        """Yield the records behind a position, page by page."""

    async def checksums(self, on_records: Callable[[int], None]) -> dict[Scope, Checksum]:
        """Return the count and the checksum of each namespace that has records."""

    def scan(self, scope: Scope) -> AsyncGenerator[list[Record], None]:
        """Yield pages of the records of a namespace, in the order of their uids."""

    async def count(self) -> int:
        """Return the number of records, by estimate."""


class FolderRecords:
    """Read the database of a store in a folder, which a server may have open and write to.

    Args:
        folder: the folder of the store.

    Raises:
        StoreError: the folder holds no store.
        CorruptStoreError: the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        settings = settings_of(folder)
        if settings is None:
            raise StoreError(f"there is no store in {str(folder)!r}", hint="check the folder after --from")
        self.dim, self.metric = int(settings["dim"]), settings["metric"]
        self._file = folder / STORE_DATABASE

    async def pages(self, mark: Mark) -> AsyncGenerator[Page, None]:
        """Yield the records behind a row number, in the order in which they were written."""
        seq = int(mark[0]) if mark else 0
        while True:
            rows = await in_thread(partial(self._page, seq), name="migrate")
            if not rows:
                return
            seq = rows[-1][0]
            grouped: dict[str, list[Record]] = defaultdict(list)
            for _, tenant, record in rows:
                grouped[tenant].append(record)
            yield Page(list(grouped.items()), [seq])

    async def checksums(self, on_records: Callable[[int], None]) -> dict[Scope, Checksum]:
        """Return the count and the checksum of each namespace that has records."""
        checksums: defaultdict[Scope, Checksum] = defaultdict(Checksum)
        async for page in self.pages([]):
            await in_thread(partial(add_to_checksums, page.by_tenant, checksums), name="migrate")
            on_records(sum(len(records) for _, records in page.by_tenant))
        return dict(checksums)

    async def scan(self, scope: Scope) -> AsyncGenerator[list[Record], None]:
        """Yield pages of the records of a namespace, in the order of their uids."""
        after = ""
        while page := await in_thread(partial(self._scan, scope, after), name="migrate"):
            yield page
            after = page[-1].uid

    async def count(self) -> int:
        """Return the number of records, expired ones included."""
        [[count]] = await in_thread(lambda: self._rows("SELECT count(*) FROM records", ()), name="migrate")
        return int(count)

    def _page(self, after: int) -> list[tuple[int, str, Record]]:
        # Each page is read in a transaction of its own: a long one would keep the write-ahead log of a server growing.
        columns = RECORDS.replace("SELECT uid", "SELECT records.seq, tenant, length(CAST(text AS BLOB)), uid", 1)
        query = f"{columns}records.seq > ? AND {_LIVE} ORDER BY records.seq LIMIT {PAGE_RECORDS}"
        page: list[tuple[int, str, Record]] = []
        size = 0
        with open_read_only(self._file) as connection:
            try:
                for seq, tenant, text_bytes, *row in connection.execute(query, (after, time.time())):
                    page.append((seq, tenant or DEFAULT_TENANT, as_record(row)))
                    size += (text_bytes or 0) + 4 * self.dim
                    if size >= PAGE_BYTES:
                        break
            except sqlite3.Error as exc:
                raise sqlite_errors.map_error(exc) from exc
            except (TypeError, ValueError) as exc:
                raise _damaged() from exc
        return page

    def _scan(self, scope: Scope, after: str) -> list[Record]:
        tenant = "" if scope.tenant == DEFAULT_TENANT else scope.tenant
        query = f"{RECORDS}tenant = ? AND namespace = ? AND uid > ? AND {_LIVE} ORDER BY uid LIMIT {_SCAN_RECORDS}"
        values = (tenant, scope.namespace, after, time.time())
        try:
            return [as_record(row) for row in self._rows(query, values)]
        except (TypeError, ValueError) as exc:
            raise _damaged() from exc

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with open_read_only(self._file) as connection:
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.Error as exc:
                raise sqlite_errors.map_error(exc) from exc


class EngineRecords:
    """Read the records of an open store, whose engine tells its tenants.

    Args:
        store: the store.
        metric: its metric.
        tenants: its tenants; the store tells them when None.
    """

    def __init__(self, store: VectorStore, metric: str, tenants: list[str] | None = None) -> None:
        self.dim, self.metric = store.dim, metric
        self._store = store
        self._tenants = tenants

    async def pages(self, mark: Mark) -> AsyncGenerator[Page, None]:
        """Yield the records behind a position, by namespace and uid; nothing once all were read."""
        if mark == [None]:
            return
        tenant, namespace, after = mark or ("", "", "")
        for scope in await self._scopes():
            if scope < (tenant, namespace):
                continue
            start = after if scope == (tenant, namespace) else ""
            async for page in self._pages_of(scope, start):
                yield Page([(scope.tenant, page)], [*scope, page[-1].uid])
        yield Page([], [None])

    async def checksums(self, on_records: Callable[[int], None]) -> dict[Scope, Checksum]:
        """Return the count and the checksum of each namespace that has records."""
        checksums: defaultdict[Scope, Checksum] = defaultdict(Checksum)
        for scope in await self._scopes():
            async for page in self._pages_of(scope, ""):
                await in_thread(partial(add_to_checksums, [(scope.tenant, page)], checksums), name="migrate")
                on_records(len(page))
        return dict(checksums)

    def scan(self, scope: Scope) -> AsyncGenerator[list[Record], None]:
        """Yield pages of the records of a namespace, in the order of their uids."""
        return self._pages_of(scope, "")

    async def count(self) -> int:
        """Return the number of records."""
        records = (await self._store.astats()).get("records", 0)
        return records if isinstance(records, int) else 0

    async def _pages_of(self, scope: Scope, after: str) -> AsyncGenerator[list[Record], None]:
        view = tenant_view(self._store, scope.tenant)
        last = after or None
        while page := await view.ascan(after=last, limit=_SCAN_RECORDS, namespace=scope.namespace):
            yield page
            last = page[-1].uid

    async def _scopes(self) -> list[Scope]:
        tenants = self._tenants or await self._store.atenants()
        if tenants is None:
            raise ConfigurationError(
                "the store does not tell its tenants, so that its records cannot all be found",
                hint="migrate between faiss:, postgresql: and milvus: stores",
            )
        scopes = []
        for tenant in tenants:
            names = await tenant_view(self._store, tenant).anamespaces(limit=_NAMESPACES)
            scopes += [Scope(tenant, name) for name in names or ()]
        return sorted(scopes)


def chunks(records: list[Record], size: int) -> list[list[Record]]:
    """Return the records in lists of at most `size`, those of one namespace together."""
    together = sorted(records, key=lambda record: record.namespace)
    return [together[start : start + size] for start in range(0, len(together), size)]


def _damaged() -> StoreError:
    return CorruptStoreError("a record is damaged", hint="restore a backup; `saa doctor` has details")
