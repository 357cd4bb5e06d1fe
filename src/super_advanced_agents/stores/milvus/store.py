"""`MilvusVectorStore`, a store over a Milvus server.

Its parts are imported when a store is opened, so that a program that opens none starts without them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from super_advanced_agents._runtime.clock import ForwardClock
from super_advanced_agents._runtime.concurrency.budget import Budget, spend
from super_advanced_agents._runtime.concurrency.futures import driven_by_thread
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, Limits
from super_advanced_agents.errors import ConfigurationError, StoreError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress
from super_advanced_agents.stores.milvus.engine.opening import connect
from super_advanced_agents.stores.options import IndexKind, Metric, check_choice, check_integer
from super_advanced_agents.stores.requests import (
    AddRequest,
    CountRequest,
    DeleteRequest,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    PredicateSearchRequest,
    PutRequest,
    QueryRequest,
    Request,
    ScanRequest,
    SearchRequest,
    StatsRequest,
    UpdateRequest,
    WriteRequest,
)
from super_advanced_agents.types import JSONValue, Match, Record

if TYPE_CHECKING:
    from super_advanced_agents.stores.milvus.writing.expiry import ExpirySweep
    from super_advanced_agents.stores.milvus.writing.writer import PreparedWrite

R = TypeVar("R")
Value = TypeVar("Value")

MIN_DIM, MAX_DIM = 2, 32_768
"""The lengths of vectors that Milvus has."""
_THREADS = 8
_MAX_QUEUED_READS = 1_024
_MAX_STORED_TOGETHER = 1_000
_PARTITIONS = 16


class MilvusVectorStore(VectorStore):
    """Store vectors and metadata in a collection of a Milvus server.

    Other processes may use the collection, too.

    A call sees all writes that this object made before. What other clients wrote is seen a moment later (0.2 s with
    the default settings of Milvus 2.3), or at once with `consistency=strong` in the URL, which makes each read wait
    that long. Concurrent changes of one record or one session by several clients are applied in the order in which
    they arrive, without a transaction: of two updates of a record one can be lost.

    Args:
        url: `milvus://[user:password@]host[:19530]/collection`, with the options `tls=true`, `database=name` and
            `consistency=strong`. A collection that does not exist is created.
        dim: the length of every vector, 2 to 32,768.
        metric: `"cosine"` (scores in [-1, 1]), or `"dot"` for vectors whose length carries meaning.
        index: the index of a new collection: `"flat"` compares with every vector, `"hnsw"` and `"auto"` build graphs,
            and `"ivf"` inverted files.
        partitions: the partitions of a new collection, 1 to 1,024; a tenant's records are in one.
        api_key: the credential, if the URL has none: an API key or `user:password`.
        limits: the limits of one call's arguments.
        max_queued_records: the most records in queued writes; further writes raise `OverloadedError`.

    Raises:
        ConfigurationError: an argument is invalid, the server refuses the credential or is too old, or the collection
            has another `dim` or `metric`.
        EngineUnavailableError: the server does not answer.

    Opening blocks until the collection is loaded. A write returns after the server has acknowledged it.
    """

    def __init__(
        self,
        url: str,
        dim: int,
        *,
        metric: Metric = "cosine",
        index: IndexKind = "auto",
        partitions: int = _PARTITIONS,
        api_key: str | None = None,
        limits: Limits | None = None,
        max_queued_records: int = 20_000,
    ) -> None:
        from super_advanced_agents.stores.milvus.reader import Reader
        from super_advanced_agents.stores.milvus.schema import open_collection
        from super_advanced_agents.stores.milvus.searcher import Searcher
        from super_advanced_agents.stores.milvus.table import Table
        from super_advanced_agents.stores.milvus.writing.expiry import ExpirySweeper
        from super_advanced_agents.stores.milvus.writing.write_ids import WriteIds
        from super_advanced_agents.stores.milvus.writing.writer import Writer, cost_of

        self._limits = limits or LIMITS
        if type(dim) is not int or not MIN_DIM <= dim <= MAX_DIM:
            raise ConfigurationError(f"dim must be an integer from {MIN_DIM} to {MAX_DIM} over Milvus, not {dim!r}")
        check_choice("index", index, get_args(IndexKind))
        check_choice("metric", metric, get_args(Metric))
        check_integer("partitions", partitions, 1, 1_024)
        self._connection = connection = connect(MilvusAddress.of(url, api_key=api_key))
        try:
            opened = open_collection(connection, dim=dim, metric=metric, index=index, partitions=partitions)
        except BaseException:
            connection.close()
            raise
        super().__init__()
        self._dim, self._metric, self._index_kind = dim, metric, opened.index_kind
        table = Table(connection, opened.partitions, ForwardClock())
        self._reader = Reader(table, dim=dim, limits=self._limits)
        self._searcher = Searcher(table, metric=metric, index=opened.index_kind, limits=self._limits)
        self._table = table
        self._writes = Writer(table, WriteIds(connection), metric=metric, limits=self._limits)
        self._writer: MicroBatcher[PreparedWrite | ExpirySweep, object] = MicroBatcher(
            self._writes.write, name="milvus writer", cost=cost_of,
            max_batch_cost=_MAX_STORED_TOGETHER, max_queue_cost=max_queued_records,
        )  # fmt: skip
        self._readers = Workers(name="milvus reader", threads=_THREADS, max_queue=_MAX_QUEUED_READS)
        self._sweeper = ExpirySweeper(table, self._writer.submit)
        self._sweeper.start()
        self._handlers: dict[type[Request[Any]], Callable[[Any], Coroutine[Any, Any, object]]] = {
            AddRequest: self._add,
            PutRequest: self._put,
            UpdateRequest: self._write,
            DeleteRequest: self._delete,
            SearchRequest: self._search,
            HybridSearchRequest: self._search_hybrid,
            KeywordSearchRequest: self._search_keywords,
            PredicateSearchRequest: self._search_with_predicate,
            GetRequest: self._get,
            CountRequest: self._count,
            ScanRequest: self._scan,
            StatsRequest: self._stats,
        }

    @staticmethod
    def drop(url: str, *, api_key: str | None = None) -> None:
        """Delete a collection with its write ids; a missing one is no error. Blocks.

        Raises:
            ConfigurationError: the URL is wrong, or the server refuses the credential.
            EngineUnavailableError: the server does not answer.
        """
        from super_advanced_agents.stores.milvus.schema import drop_collection

        connection = connect(MilvusAddress.of(url, api_key=api_key))
        try:
            drop_collection(connection)
        finally:
            connection.close()

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    @property
    def limits(self) -> Limits:
        """The limits that the arguments of one call must meet."""
        return self._limits

    async def _execute(self, request: Request[R]) -> R:
        return cast("R", await self._handlers[type(request)](request))

    async def _atenants(self) -> list[str]:
        return sorted(name or DEFAULT_TENANT for name in await self._read(self._reader.tenants))

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        return await self._read(partial(self._reader.namespaces, tenant, limit))

    # -- writing --------------------------------------------------------------------------------------------------

    async def _write(self, request: WriteRequest[R], size: int = 1) -> R:
        write = await self.acompute(partial(self._writes.prepare, request), size)
        return cast("R", await self._writer.submit(write))

    async def _add(self, request: AddRequest) -> list[str]:
        return await self._write(request, len(request.vectors)) if len(request.vectors) else []

    async def _put(self, request: PutRequest) -> int:
        return await self._write(request, len(request.records)) if request.records else 0

    async def _delete(self, request: DeleteRequest) -> int:
        return await self._write(request)

    # -- reading --------------------------------------------------------------------------------------------------

    async def _search(self, request: SearchRequest) -> list[list[Match]]:
        await self._check_model(request)
        return await self._read(partial(self._searcher.search, request))

    async def _search_hybrid(self, request: HybridSearchRequest) -> list[Match]:
        await self._check_model(request)
        return await self._read(partial(self._searcher.search_hybrid, request))

    async def _search_keywords(self, request: KeywordSearchRequest) -> list[Match]:
        if request.query_vector is not None:
            await self._check_model(request)
        return await self._read(partial(self._searcher.search_keywords, request))

    async def _search_with_predicate(self, request: PredicateSearchRequest) -> list[Match]:
        # Its predicate is a caller's function, which may take any time: only a caller that has left ends it.
        await self._check_model(request)
        with Budget() as budget:
            return await self._readers.submit(
                partial(spend, budget, partial(self._searcher.search_with_predicate, request))
            )

    async def _check_model(self, request: QueryRequest[Any]) -> None:
        if request.namespace is not None and request.model_id is not None:
            await self._read(partial(self._reader.check_model, request.tenant, request.namespace, request.model_id))

    async def _get(self, request: GetRequest) -> list[Record]:
        return await self._read(partial(self._reader.get, request))

    async def _count(self, request: CountRequest) -> int:
        return await self._read(partial(self._table.count_matching, request.tenant, request.namespace, request.tree))

    async def _scan(self, request: ScanRequest) -> list[Record]:
        return await self._read(partial(self._reader.scan, request))

    async def _stats(self, request: StatsRequest) -> dict[str, JSONValue]:
        del request
        return {
            "engine": "milvus",
            "dim": self._dim,
            "metric": self._metric,
            "index": self._index_kind,
            "server_version": ".".join(map(str, self._connection.version)),
            "collection": self._connection.address.collection,
            "records": await self._read(self._reader.count_all),
        }

    async def _read(self, work: Callable[[], Value]) -> Value:
        with Budget.of_call() as budget:
            if not driven_by_thread():
                return await self._readers.submit(partial(spend, budget, work))
            try:  # a blocking caller waits anyway: without two changes of threads
                return spend(budget, work)
            except StoreError:
                self._check_open()  # it was closed meanwhile
                raise

    def _release(self) -> None:
        """Finish accepted requests, and close the connection."""
        with ExitStack() as stack:  # runs in reverse order, and goes on after a callback that fails
            stack.callback(self._connection.close)
            stack.callback(self._readers.close)
            stack.callback(self._writer.close)
            stack.callback(self._sweeper.close)
            stack.callback(super()._release)
