"""The opened store: its tables, and what answers each request over its connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from super_advanced_agents._runtime.concurrency.budget import Budget
from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.config import DEFAULT_NAMESPACE, Limits
from super_advanced_agents.stores.postgres.graphs import MAX_DIM, GraphBuilder
from super_advanced_agents.stores.postgres.reading import Reader
from super_advanced_agents.stores.postgres.schema import StoreSettings, open_schema
from super_advanced_agents.stores.postgres.scopes import Scopes
from super_advanced_agents.stores.postgres.searching.searcher import Searcher
from super_advanced_agents.stores.postgres.writing.batches import Batch
from super_advanced_agents.stores.postgres.writing.deleter import Deleter, Swept
from super_advanced_agents.stores.postgres.writing.keywords import KeywordWriter
from super_advanced_agents.stores.postgres.writing.sweeper import ExpirySweeper
from super_advanced_agents.stores.postgres.writing.write_ids import WriteIds
from super_advanced_agents.stores.postgres.writing.writer import Writer
from super_advanced_agents.stores.requests import (
    AddRequest,
    CountRequest,
    DeleteRequest,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    PutRequest,
    Request,
    ScanRequest,
    SearchRequest,
    UpdateRequest,
)
from super_advanced_agents.types import JSONValue

T = TypeVar("T")

_WRITE_S = 600.0
"""The most seconds of a deletion, which may concern a whole store."""


class Engine:
    """Answer the requests of a store whose tables are ready.

    Args:
        database: the database.
        scopes: its scopes.
        writer: adds and changes records.
        deleter: deletes records.
        write_ids: remembers writes that may be repeated.
        searcher: answers searches.
        reader: answers other reads.
        graphs: builds graphs in the background.
    """

    def __init__(
        self,
        database: Database,
        scopes: Scopes,
        *,
        writer: Writer,
        deleter: Deleter,
        write_ids: WriteIds,
        searcher: Searcher,
        reader: Reader,
        graphs: GraphBuilder,
    ) -> None:
        self._database, self._scopes, self.graphs = database, scopes, graphs
        self._writer, self._write_ids, self._reader = writer, write_ids, reader
        self._handlers: dict[type[Request[Any]], Callable[..., Awaitable[Any]]] = {
            SearchRequest: searcher.search,
            HybridSearchRequest: searcher.search_hybrid,
            KeywordSearchRequest: searcher.search_keywords,
            GetRequest: reader.get,
            ScanRequest: reader.scan,
            CountRequest: reader.count,
            UpdateRequest: writer.update,
            DeleteRequest: deleter.delete,
        }

    @classmethod
    async def open(cls, database: Database, settings: StoreSettings, limits: Limits, graph_rows: int | None) -> Engine:
        """Create, upgrade and check the tables, and return what answers requests.

        Raises:
            ConfigurationError: the store cannot be used as it is; the message says why.
            EngineUnavailableError: the database cannot be reached.
        """
        codec = await open_schema(database, settings)
        scopes = Scopes(database)
        if settings.dim > MAX_DIM[settings.storage]:
            graph_rows = None
        graphs = GraphBuilder(database, settings.storage, settings.metric, graph_rows)
        await database.read(graphs.plan)
        keywords, write_ids = KeywordWriter(database), WriteIds(database)
        deleter = Deleter(database, scopes, keywords)
        await database.start_background("expiry", ExpirySweeper(database, deleter, write_ids).run)
        return cls(
            database,
            scopes,
            writer=Writer(
                database,
                scopes,
                codec,
                limits,
                keywords=keywords,
                deleter=deleter,
                unit=settings.metric == "cosine",
                grown=graphs.note_write,
            ),
            deleter=deleter,
            write_ids=write_ids,
            searcher=Searcher(database, scopes, codec, limits, settings.metric),
            reader=Reader(database, scopes, codec, limits, settings.dim),
            graphs=graphs,
        )

    async def execute(self, request: Request[Any]) -> Any:
        """Answer a request other than one that adds records."""
        answer = self._handlers[type(request)]
        if isinstance(request, UpdateRequest | DeleteRequest):
            seconds = _WRITE_S if isinstance(request, DeleteRequest) else None
            return await self._change(request, lambda c, _: answer(c, request), seconds=seconds)
        return await self._read(lambda c, room: answer(c, request, room))

    async def add(self, request: AddRequest, batch: Batch) -> list[str]:
        """Add the records of a prepared batch; return their uids."""
        return await self._change(
            request, lambda c, swept: self._writer.add(c, request.tenant, batch, swept), batch.namespace
        )

    async def put(self, request: PutRequest, batches: list[Batch]) -> int:
        """Store complete records; return the number of records stored."""
        try:
            return await self._change(request, lambda c, _: self._writer.put(c, request.tenant, batches))
        finally:
            for batch in batches:
                self._scopes.forget(request.tenant, batch.namespace)

    async def namespaces(self, tenant: str, limit: int) -> list[str]:
        """Return the first namespaces by name in which a tenant has records."""
        return await self._read(lambda c, _: self._reader.namespaces(c, tenant, limit))

    async def version(self, tenant: str, namespace: str | None) -> int:
        """Return a number that changes with each write to a namespace, by any process."""
        return await self._read(lambda c, _: self._reader.version(c, tenant, namespace))

    async def tenants(self) -> list[str]:
        """Return the names of the tenants that have records; the default tenant's is empty."""
        return await self._read(lambda c, _: self._reader.tenants(c))

    async def stats(self) -> dict[str, JSONValue]:
        """Return the sizes of the store."""
        return await self._read(lambda c, _: self._reader.stats(c))

    async def _read(self, work: Callable[[Connection, int | None], Awaitable[T]]) -> T:
        with Budget.of_call() as budget:
            room = budget.answer_bytes
            return await self._database.read(lambda connection: work(connection, room), seconds=budget.seconds)

    async def _change(
        self,
        request: Any,
        work: Callable[[Connection, Swept], Awaitable[T]],
        namespace: str | None = None,
        *,
        seconds: float | None = None,
    ) -> T:
        async def once(connection: Connection) -> tuple[T, Swept]:
            swept = Swept()
            return await self._write_ids.once(connection, request, lambda c: work(c, swept)), swept

        try:
            result, _ = await self._database.write(once, seconds=seconds, committed=lambda done: done[1].count())
            return result
        finally:
            # A search of this process sees the state that the write left.
            name = namespace or getattr(request, "namespace", None) or DEFAULT_NAMESPACE
            self._scopes.forget(request.tenant, name)
