"""`FAISSVectorStore`, an embedded store: rows in SQLite, indexes in FAISS.

Its search is exact while it is small and uses graphs when it grows; it is durable when it has a path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar, cast, get_args

import numpy as np

from super_advanced_agents._runtime.concurrency.budget import Budget, spend
from super_advanced_agents._runtime.concurrency.futures import Future, driven_by_thread
from super_advanced_agents._runtime.queues.batcher import MicroBatcher, Workers
from super_advanced_agents.config import LIMITS, STORE_DATABASE, Limits, checked_agent_name
from super_advanced_agents.stores.faiss.index import Index
from super_advanced_agents.stores.faiss.keywords.tenants import KeywordIndexes
from super_advanced_agents.stores.faiss.maintenance.expiry import ExpirySweeper
from super_advanced_agents.stores.faiss.maintenance.operations import MaintenanceOperations
from super_advanced_agents.stores.faiss.metadata.slow_filters import SlowFilters
from super_advanced_agents.stores.faiss.reader import RecordReader
from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.rows.duplicates import digests_of
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.search import Search
from super_advanced_agents.stores.faiss.searcher import Searcher
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.vectors.arena import VectorMemory
from super_advanced_agents.stores.faiss.vectors.builder import Builder
from super_advanced_agents.stores.faiss.vectors.seal_policy import SealPolicy
from super_advanced_agents.stores.faiss.vectors.sealer import Sealer
from super_advanced_agents.stores.faiss.vectors.snapshot import Snapshots
from super_advanced_agents.stores.faiss.writing.requests import RowBatches, ViewUpdate, Write, cost_of, identified
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.faiss.writing.writer import Writer
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.stores.options import IndexKind, Metric, Storage, check_choice, check_integer
from super_advanced_agents.stores.records.scope import Scope
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
)
from super_advanced_agents.stores.validation import bounded_rows, unit_rows
from super_advanced_agents.types import JSONValue, Match, Matrix, Record, Weights

R = TypeVar("R")
Value = TypeVar("Value")

_MAX_COMMIT_RECORDS = 4_000
_MAX_BATCHED_SEARCHES = 256
_MAX_BATCHED_KEYWORD_SEARCHES = 16
"""Keyword searches share less work than vector searches do.

Smaller batches return earlier, so that their callers can embed the next query meanwhile.
"""
_MAX_QUEUED_READS = 8_192
_MATCHES_OF_ONE_COST = 16
"""A search for many matches counts as several, so that one pass reads few rows."""


class FAISSVectorStore(MaintenanceOperations):
    """Store vectors and metadata in one process, with FAISS indexes over rows in SQLite.

    The rows are the source of truth; the indexes are derived from them.

    Args:
        dim: the length of every vector, 1 to 65,536.
        path: a folder, created if missing and locked by this object until it is closed; None keeps all in memory.
        index: `"flat"` compares with every vector, exactly; `"hnsw"` seals full buffers of `buffer_rows` vectors into
            graphs, and `"ivf"` into inverted files, which are built faster and searched slower; `"auto"` is exact up to
            16,384 vectors and seals graphs beyond. It may differ from one opening to the next.
        metric: `"cosine"` (scores in [-1, 1]), or `"dot"` for vectors whose length carries meaning.
        storage: the format of sealed vectors in memory: `"fp32"` takes four bytes a number, `"fp16"` two, `"sq8"` one.
            With a shortened format a search scores its best candidates again with the vectors of the table.
        limits: the limits of one call's arguments.
        buffer_rows: the number of vectors that are buffered before they are sealed, 16 to 65,536.
        max_queued_records: the most records in queued writes; further writes raise `OverloadedError`.

    Raises:
        StoreLockedError: another object or process has locked the folder.
        ConfigurationError: an argument is invalid, or the store in the folder has another `dim` or `metric`.
        StoreError: the folder cannot be written.

    The vectors of an existing store are read at first use, in a worker thread. A write returns after its transaction
    was committed with `synchronous=FULL`.
    """

    def __init__(
        self,
        dim: int,
        path: str | os.PathLike[str] | None = None,
        *,
        index: IndexKind = "auto",
        metric: Metric = "cosine",
        storage: Storage = "fp32",
        limits: Limits | None = None,
        buffer_rows: int = 4_096,
        max_queued_records: int = 20_000,
    ) -> None:
        self._limits = limits or LIMITS
        check_integer("dim", dim, 1, self._limits.dim)
        check_choice("index", index, get_args(IndexKind))
        check_choice("metric", metric, get_args(Metric))
        check_choice("storage", storage, get_args(Storage))
        check_integer("buffer_rows", buffer_rows, 16, 65_536)
        self._dim, self._metric, self._index_kind = dim, metric, index
        self._folder = None if path is None else StoreFolder(path, database=STORE_DATABASE)
        folder = None if self._folder is None else self._folder.path
        try:
            self._rows = RecordTable(folder, {"dim": str(dim), "metric": metric})
        except BaseException:
            if self._folder is not None:
                self._folder.release()
            raise
        super().__init__()
        self._scaled = unit_rows if metric == "cosine" else bounded_rows
        unit = metric == "cosine"
        policy, memory = SealPolicy.of(index, storage, buffer_rows), VectorMemory(dim)
        self._index = Index(
            self._rows, memory, unit=unit, buffer_rows=buffer_rows, seals=policy.min_buffers is not None
        )
        shape: dict[str, str | int] = {"dim": dim, "kind": "ivf" if index == "ivf" else "hnsw", "storage": storage}
        snapshots = None if folder is None or index == "flat" else Snapshots(folder, self._rows, shape)
        self._sealer = Sealer(self._index, policy, Builder(index, storage, memory), snapshots, publish=self._publish)
        self._keywords = KeywordIndexes(self._rows, self._index, folder)
        self._state = state = State(self._rows, self._index, self._keywords, self._load)
        self._record_reader = RecordReader(state, self._limits)
        self._slow_filters = SlowFilters(state)
        self._search_engine = Searcher(state, self._limits, unit=unit)
        self._writer: MicroBatcher[Write, object] = MicroBatcher(
            Writer(state).write, name="store writer", cost=cost_of,
            max_batch_cost=_MAX_COMMIT_RECORDS, max_queue_cost=max_queued_records,
        )  # fmt: skip
        self._searcher = self._new_searcher(_MAX_BATCHED_SEARCHES)
        # A queue of their own, so that vector searches do not wait for keyword searches that index new texts first.
        self._keyword_searcher = self._new_searcher(_MAX_BATCHED_KEYWORD_SEARCHES)
        self._sweeper = ExpirySweeper(self._index, self._writer.submit)
        self._readers = Workers(name="store reader", threads=2, max_queue=_MAX_QUEUED_READS)
        self._handlers = self._new_handlers()

    def _new_handlers(self) -> dict[type[Request[Any]], Callable[[Any], Coroutine[Any, Any, object]]]:
        return {
            AddRequest: self._add,
            PutRequest: self._put,
            UpdateRequest: self._update,
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

    def _new_searcher(self, max_batch_cost: int) -> MicroBatcher[Search, list[list[Match]]]:
        return MicroBatcher(
            self._search_engine.search, name="store searcher", cost=_search_cost,
            max_batch_cost=max_batch_cost, max_queue_cost=_MAX_QUEUED_READS,
        )  # fmt: skip

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

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        scope = Scope.of_reading(tenant, None if namespace is None else checked_agent_name(namespace, "namespace"))
        return self._index.versions.of(None if scope is None else self._rows.scope_id(scope) or 0)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        work = partial(self._record_reader.namespaces, tenant, limit)
        with Budget.of_call() as budget:
            return await self._read(None, None, work, budget)

    # -- writing --------------------------------------------------------------------------------------------------

    async def _add(self, request: AddRequest) -> list[str]:
        if not len(request.vectors):
            return []
        write = await self.acompute(lambda: identified(self._row_batch(request), request), len(request.vectors))
        uids = await self._writer.submit(write)
        self._wake_background(expires=request.expires_in_s is not None)
        return cast("list[str]", uids)

    def _row_batch(self, request: AddRequest) -> RowBatch:
        batch = RowBatch.of(
            request, self._scaled(request.vectors, field="vectors"), now=time.time(), clock=self._rows.clock
        )
        if request.dedupe is not None:
            batch.digests = digests_of(batch)
        return batch

    async def _put(self, request: PutRequest) -> int:
        if not request.records:
            return 0
        batches = await self.acompute(partial(self._row_batches, request), len(request.records))
        stored = await self._writer.submit(identified(RowBatches(batches), request))
        self._wake_background(
            expires=any(expires_at is not None for batch in batches for expires_at in batch.expires_at)
        )
        return cast("int", stored)

    def _row_batches(self, request: PutRequest) -> list[RowBatch]:
        return RowBatch.by_namespace(
            request, self._scaled(request.vectors, field="records"), now=self._rows.clock.now()
        )

    async def _update(self, request: UpdateRequest) -> bool:
        scaled = partial(self._scaled, field="vector")
        update = Update.of(request, now=time.time(), clock=self._rows.clock, scaled=scaled, limits=self._limits)
        updated = await self._writer.submit(identified(update, request))
        self._wake_background(expires=isinstance(update.expires_at, float))
        return cast("bool", updated)

    async def _delete(self, request: DeleteRequest) -> int:
        scope = Scope.of_reading(request.tenant, request.namespace)
        with Budget.of_call() as budget, await self._slow_filters.evaluate_ahead(scope, request.tree, budget):
            deleted = await self._writer.submit(identified(request, request))
        self._slow_filters.free_memory(scope)
        return cast("int", deleted)

    def _wake_background(self, *, expires: bool) -> None:
        self._sealer.wake()
        if expires:
            self._sweeper.wake()

    # -- searching ------------------------------------------------------------------------------------------------

    async def _search(self, request: SearchRequest) -> list[list[Match]]:
        queries = self._scaled(request.query_vectors, field="query_vectors")
        if not len(queries):
            return []
        self._record_reader.search_counts.add("vector")
        submit = self._searcher.run_inline if driven_by_thread() else self._searcher.submit
        return await self._run(request, queries, submit, return_scores=request.return_scores)

    async def _search_hybrid(self, request: HybridSearchRequest) -> list[Match]:
        queries = self._scaled(request.query_vector[np.newaxis], field="query_vector")
        self._record_reader.search_counts.add("hybrid")
        [matches] = await self._run(
            request,
            queries,
            self._keyword_searcher.submit,
            text=request.query_text,
            weights=request.weights or Weights(),
            explain=request.explain,
        )
        return matches

    async def _search_keywords(self, request: KeywordSearchRequest) -> list[Match]:
        queries = np.empty((0, self._dim), np.float32)
        if request.query_vector is not None:
            queries = self._scaled(request.query_vector[np.newaxis], field="query_vector")
        self._record_reader.search_counts.add("keyword")
        submit = self._keyword_searcher.submit
        [matches] = await self._run(request, queries, submit, text=request.query_text, by_keywords=True)
        return matches

    async def _run(
        self,
        request: QueryRequest[Any],
        queries: Matrix,
        submit: Callable[[Search], Future[list[list[Match]]]],
        **options: Any,
    ) -> list[list[Match]]:
        with Budget.of_call() as budget:
            search = Search.of(request, queries, budget=budget, **options)
            await self._check_model(search, request.model_id)
            with await self._slow_filters.evaluate_ahead(search.scope, search.tree, budget):
                return await submit(search)

    async def _search_with_predicate(self, request: PredicateSearchRequest) -> list[Match]:
        # Its predicate is a caller's function, which may take any time: only a caller that has left ends it.
        queries = self._scaled(request.query_vector[np.newaxis], field="query_vector")
        self._record_reader.search_counts.add("predicate")
        with Budget() as budget:
            search = Search.of(request, queries, budget=budget)
            await self._check_model(search, request.model_id)
            work = partial(self._search_engine.search_with_predicate, search, request.filter_fn)
            return await self._read(search.scope, search.tree, work, budget)

    async def _check_model(self, search: Search, model_id: str | None) -> None:
        if len(search.queries) and self._rows.may_have_other_model(
            search.scope, model_id
        ):  # rare, so only then the rows are read
            await self._readers.submit(partial(self._record_reader.check_model, search.scope, model_id))

    # -- reading --------------------------------------------------------------------------------------------------

    async def _get(self, request: GetRequest) -> list[Record]:
        scope = Scope.of_reading(request.tenant, request.namespace)
        with Budget.of_call() as budget:
            work = partial(self._record_reader.get, request.uids, scope, request.number_bytes)
            return await self._readers.submit(partial(spend, budget, work))

    async def _count(self, request: CountRequest) -> int:
        scope = Scope.of_reading(request.tenant, request.namespace)
        work = partial(self._record_reader.count, scope, request.tree)
        with Budget.of_call() as budget:
            return await self._read(scope, request.tree, work, budget)

    async def _scan(self, request: ScanRequest) -> list[Record]:
        scope = Scope.of_reading(request.tenant, request.namespace)
        work = partial(self._record_reader.scan, request, scope)
        with Budget.of_call() as budget:
            return await self._read(scope, request.tree, work, budget)

    async def _read(self, scope: Scope | None, tree: Filter | None, work: Callable[[], Value], budget: Budget) -> Value:
        with await self._slow_filters.evaluate_ahead(scope, tree, budget):
            return await self._readers.submit(partial(spend, budget, work))

    async def _stats(self, request: StatsRequest) -> dict[str, JSONValue]:
        del request
        stats: dict[str, JSONValue] = {
            "engine": "faiss",
            "dim": self._dim,
            "metric": self._metric,
            "index": self._index_kind,
            "path": None if self._folder is None else str(self._folder.path),
            "sealing": self._sealer.busy,
            "tenants": self._rows.tenants,
        }
        return {**stats, **await self._readers.submit(self._record_reader.stats)}

    def check_files(self) -> None:
        """Raise if a file of the store was removed, replaced, emptied or cut by others.

        Writes have stopped then.

        Raises:
            StoreError: a file was; the message names it.
        """
        self._state.check_files()

    def _load(self) -> None:
        self._sealer.load()
        self._sweeper.wake()

    def _publish(self, change: ViewUpdate) -> None:
        self._writer.submit(change).wait()

    def _release(self) -> None:
        """Finish accepted requests, stop background work, close the files and unlock the folder."""
        with ExitStack() as stack:  # runs in reverse order, and goes on after a callback that fails
            if self._folder is not None:
                stack.callback(self._folder.release)
            stack.callback(self._rows.close)
            stack.callback(self._keywords.close)
            stack.callback(self._readers.close)
            stack.callback(self._backups.close)
            stack.callback(self._keyword_searcher.close)
            stack.callback(self._searcher.close)
            stack.callback(self._writer.close)
            stack.callback(self._sealer.close)
            stack.callback(self._sweeper.close)
            stack.callback(super()._release)
            stack.callback(self._slow_filters.close)


def _search_cost(search: Search) -> int:
    return max(1, len(search.queries)) * (1 + search.top_k // _MATCHES_OF_ONE_COST)
